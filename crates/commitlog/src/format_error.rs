//! Why bytes from the disk were refused: one error for every format of this crate.
//!
//! Two kinds, because two things can be done: a damaged file is repaired from its second copy (an
//! older generation, the log, a replica); a file of a later release needs that release.

use stdx::CursorError;

/// Bytes that are not what their format says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Damaged: use the second copy. Never served, never repaired in place.
    #[error("{format}: {reason}")]
    Corrupt {
        /// Which format, as its page in `docs/formats/` is called.
        format: &'static str,
        /// What was wrong.
        reason: Reason,
    },
    /// Written by a later release; this one must not guess.
    #[error("{format}: format {version} is newer than {known}, the newest known here")]
    Newer {
        /// Which format, as its page in `docs/formats/` is called.
        format: &'static str,
        /// What the bytes say.
        version: u16,
        /// The newest version this release reads.
        known: u16,
    },
}

/// What was wrong with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// They ended early, or went on too long, or a length cannot be true.
    Bounds(CursorError),
    /// They do not begin, or end, as this format does.
    Magic,
    /// The checksum does not match.
    Checksum {
        /// As stored.
        stored: u32,
        /// As computed.
        computed: u32,
    },
    /// Well-formed, but impossible: what must hold and does not.
    Broken(&'static str),
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::Bounds(error) => error.fmt(f),
            Reason::Magic => f.write_str("not this format (magic)"),
            Reason::Checksum { stored, computed } => {
                write!(
                    f,
                    "checksum {stored:#010x} stored, {computed:#010x} computed"
                )
            }
            Reason::Broken(what) => f.write_str(what),
        }
    }
}

impl From<CursorError> for Reason {
    fn from(error: CursorError) -> Reason {
        Reason::Bounds(error)
    }
}

impl Reason {
    /// The error of `format`.
    pub fn of(self, format: &'static str) -> FormatError {
        FormatError::Corrupt {
            format,
            reason: self,
        }
    }
}

/// Refuses versions this release does not know; version 0 is never written.
pub(crate) fn check_version(
    format: &'static str,
    version: u16,
    known: u16,
) -> Result<(), FormatError> {
    match version {
        0 => Err(Reason::Broken("version 0").of(format)),
        _ if version > known => Err(FormatError::Newer {
            format,
            version,
            known,
        }),
        _ => Ok(()),
    }
}

/// Refuses bytes whose checksum differs.
pub(crate) fn check_sum(stored: u32, computed: u32) -> Result<(), Reason> {
    if stored == computed {
        Ok(())
    } else {
        Err(Reason::Checksum { stored, computed })
    }
}
