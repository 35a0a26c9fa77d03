//! The system's random generator.

use crate::random::Random;

/// Bytes from `getrandom`: fit for secrets.
#[derive(Debug, Default)]
pub struct RealRandom;

impl Random for RealRandom {
    #[expect(unsafe_code, reason = "getrandom has no safe form in libc")]
    fn fill(&self, buffer: &mut [u8]) {
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = &mut buffer[filled..];
            // SAFETY: pointer and length describe `rest`, which is ours to write.
            let taken = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
            match usize::try_from(taken) {
                Ok(taken) => filled += taken,
                Err(_) => {
                    let error = std::io::Error::last_os_error();
                    // EINTR is the only error a large blocking read can meet; a kernel without
                    // getrandom (before 3.17) is one we cannot run on.
                    assert!(
                        error.kind() == std::io::ErrorKind::Interrupted,
                        "the system gives no random bytes: {error}"
                    );
                }
            }
        }
    }
}
