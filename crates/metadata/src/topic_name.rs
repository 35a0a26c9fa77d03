//! Which topic names are allowed, and which collide (rule M9).

/// The longest name, so that a directory named after a partition would still fit a filesystem.
pub const NAME_LENGTH_MAX: usize = 249;

/// Says what is wrong with a topic name, if anything.
pub fn check_name(name: &str) -> Result<(), String> {
    let reason = if name.is_empty() {
        "the empty string is not allowed".into()
    } else if name == "." || name == ".." {
        format!("'{name}' is not allowed")
    } else if name.len() > NAME_LENGTH_MAX {
        // The name is not repeated: whoever sent it could fill a log with it.
        format!(
            "it has {} characters, at most {NAME_LENGTH_MAX} are allowed",
            name.len()
        )
    } else if let Some(wrong) = name
        .chars()
        .find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_' | '-'))
    {
        format!("{wrong:?} is not one of ASCII letters, digits, '.', '_' and '-'")
    } else {
        return Ok(());
    };
    Err(format!("Topic name is invalid: {reason}"))
}

/// The form in which names that differ only in `.` and `_` are equal; `None` if the name has
/// neither and so cannot collide.
pub(crate) fn unified(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}
