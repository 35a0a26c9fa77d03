//! Round trips, other clients' variants, bombs and damage.

use std::io::Write;

use super::*;

/// Text like JSON lines: compresses well, but not absurdly.
fn sample(bytes: usize) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut out = Vec::new();
    while out.len() < bytes {
        let line = format!(r#"{{"id":{},"name":"user-{}"}}"#, rng.u32(..), rng.u8(..));
        out.extend_from_slice(line.as_bytes());
    }
    out.truncate(bytes);
    out
}

#[test]
fn every_codec_gives_back_what_it_took() {
    for codec in Codec::ALL {
        for bytes in [0, 1, 100, 32 * 1024, 32 * 1024 + 1, 300_000] {
            let data = sample(bytes);
            let packed = compress(codec, None, &data).expect("compresses");
            if codec != Codec::None && bytes > 1000 {
                assert!(
                    packed.len() < bytes / 2 + bytes / 4,
                    "{codec} does compress"
                );
            }
            assert_eq!(
                decompress(codec, &packed, bytes).expect("decompresses"),
                data,
                "{codec}"
            );
        }
    }
}

#[test]
fn levels_are_clamped_and_act() {
    let data = sample(200_000);
    for codec in [Codec::Gzip, Codec::Zstd] {
        let levels = codec.levels().expect("levels");
        let fast = compress(codec, Some(i32::MIN), &data).expect("compresses");
        let small = compress(codec, Some(i32::MAX), &data).expect("compresses");
        assert!(small.len() < fast.len(), "{codec}");
        let lowest = compress(codec, Some(*levels.start()), &data).expect("compresses");
        assert_eq!(fast, lowest);
        for packed in [fast, small] {
            assert_eq!(
                decompress(codec, &packed, data.len()).expect("decompresses"),
                data
            );
        }
    }
}

#[test]
fn names_and_numbers_are_kafkas() {
    for codec in Codec::ALL {
        assert_eq!(Codec::from_id(codec.id()), Some(codec));
        assert_eq!(Codec::from_name(codec.name()), Some(codec));
    }
    assert_eq!(Codec::from_name("uncompressed"), Some(Codec::None));
    assert_eq!(Codec::from_name("producer"), None);
    assert_eq!(Codec::from_id(5), None);
}

#[test]
fn a_bomb_is_refused_at_the_cap_by_an_error_of_its_own() {
    // rule W8, decision D9
    let cap = 1024 * 1024;
    let bomb = vec![0; 4 * cap];
    for codec in Codec::ALL {
        let packed = compress(codec, None, &bomb).expect("compresses");
        let refused = decompress(codec, &packed, cap).expect_err("refused");
        assert!(
            matches!(refused, DecompressError::TooLarge { .. }),
            "{refused}"
        );
        let exactly = compress(codec, None, &bomb[..cap]).expect("compresses");
        assert_eq!(decompress(codec, &exactly, cap).expect("fits").len(), cap);
    }
}

#[test]
fn damaged_streams_are_errors() {
    let data = sample(5000);
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let packed = compress(codec, None, &data).expect("compresses");
        // The end mark of an LZ4 frame may be missing; the data may not.
        let end = if codec == Codec::Lz4 { 5 } else { 1 };
        for cut in [1, packed.len() / 2, packed.len() - end] {
            let result = decompress(codec, &packed[..cut], 1 << 20);
            assert!(
                matches!(result, Err(DecompressError::Corrupt { .. })),
                "{codec} cut at {cut}"
            );
        }
        let result = decompress(codec, b"this is no such stream", 1 << 20);
        assert!(
            matches!(result, Err(DecompressError::Corrupt { .. })),
            "{codec}"
        );
    }
}

#[test]
fn raw_snappy_and_concatenated_xerial_streams_are_read() {
    let data = sample(100_000);
    let raw = snap::raw::Encoder::new()
        .compress_vec(&data)
        .expect("compresses");
    assert_eq!(
        decompress(Codec::Snappy, &raw, 100_000).expect("reads"),
        data
    );
    let twice = compress(Codec::Snappy, None, &data)
        .expect("compresses")
        .repeat(2);
    assert_eq!(
        decompress(Codec::Snappy, &twice, 200_000).expect("reads"),
        data.repeat(2)
    );
}

#[test]
fn a_snappy_block_that_claims_gigabytes_is_refused_before_they_are_reserved() {
    let claim = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0];
    let refused = decompress(Codec::Snappy, &claim, usize::MAX).expect_err("refused");
    assert!(matches!(refused, DecompressError::Corrupt { .. }));
}

#[test]
fn lz4_frames_of_other_clients_are_read() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let data = sample(600_000);
    for block_size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max4MB] {
        for block_mode in [BlockMode::Independent, BlockMode::Linked] {
            let info = FrameInfo::new()
                .block_size(block_size)
                .block_mode(block_mode)
                .block_checksums(true)
                .content_checksum(true)
                .content_size(Some(data.len() as u64));
            let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(&data).expect("writes");
            let packed = encoder.finish().expect("finishes");
            assert_eq!(
                decompress(Codec::Lz4, &packed, data.len()).expect("reads"),
                data
            );
        }
    }
}

#[test]
fn our_lz4_frames_have_independent_blocks_and_no_extras() {
    // Java's reader accepts version 1 with independent blocks of a known size.
    let packed = compress(Codec::Lz4, None, b"abc").expect("compresses");
    assert_eq!(packed[..4], [0x04, 0x22, 0x4d, 0x18]);
    assert_eq!(
        packed[4], 0x60,
        "version 1, independent, no checksums, no content size"
    );
    assert_eq!(packed[5], 0x40, "64 KB");
}

#[test]
fn gzip_members_and_zstd_frames_may_follow_each_other() {
    for codec in [Codec::Gzip, Codec::Zstd] {
        let packed = compress(codec, None, b"abc").expect("compresses").repeat(3);
        assert_eq!(
            decompress(codec, &packed, 100).expect("reads"),
            b"abcabcabc"
        );
    }
}
