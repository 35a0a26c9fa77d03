//! One agreed, ordered log of metadata commands, by openraft, behind a small trait.
