use super::*;

#[test]
fn the_current_generation_reads_back() {
    assert_eq!(decode_current(&encode_current(7)), Ok(7));
}
