//! `cargo xtask dist`: what is shipped. One static binary, an archive with its manual and completions,
//! a package for Debian, and the checksums of all three.
//!
//! The binary itself writes its manual pages, completions and unit (`duramen generate`): what is
//! shipped says what this very build does. Archives are the same for the same commit: they bear its
//! time and no user.

mod elf;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How it is called.
pub const USAGE: &str = "cargo xtask dist [--target TRIPLE] [--out DIR]";

/// A binary above this is a mistake: something heavy came in.
const BINARY_BYTES_MAX: u64 = 30_000_000;
/// The profile in Cargo.toml.
const PROFILE: &str = "dist";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Files of the package that the binary does not write.
const CONFIGURATION: &str = include_str!("../package/duramen.toml");
const AFTER_INSTALL: &str = include_str!("../package/postinst");
const BEFORE_REMOVAL: &str = include_str!("../package/prerm");
const AFTER_REMOVAL: &str = include_str!("../package/postrm");

/// Builds everything.
///
/// # Errors
/// What stood in the way, in words.
pub fn run(root: &Path, arguments: &[String], out: &mut impl Write) -> Result<(), String> {
    let mut target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let mut folder = root.join("target/dist");
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match (word.as_str(), words.next()) {
            ("--target", Some(triple)) => target = triple.clone(),
            ("--out", Some(given)) => folder = PathBuf::from(given),
            _ => return Err(format!("usage: {USAGE}")),
        }
    }
    let mut say = |text: String| writeln!(out, "dist: {text}").map_err(|error| error.to_string());
    let time = commit_time(root);
    say(format!("building for {target}"))?;
    let built = build(root, &target)?;
    let binary = fs::read(&built).map_err(|error| format!("{}: {error}", built.display()))?;
    elf::check_static(&binary)?;
    let bytes = binary.len() as u64;
    if bytes > BINARY_BYTES_MAX {
        return Err(format!(
            "the binary has {bytes} bytes, at most {BINARY_BYTES_MAX} are allowed"
        ));
    }
    say(format!("static binary, {:.1} MB", bytes as f64 / 1e6))?;

    renew(&folder)?;
    let architecture = target.split('-').next().unwrap_or("unknown");
    let name = format!("duramen-{VERSION}-{architecture}-linux");
    let tree = folder.join(&name);
    let program = place_binary(&built, &tree.join("duramen"))?;
    write_extras(&program, &tree)?;
    for page in ["LICENSE", "README.md", "CHANGELOG.md"] {
        copy(&root.join(page), &tree.join(page))?;
    }
    let archive = pack(&folder, &name, &time)?;
    say(archive.clone())?;
    let mut shipped = vec![archive];
    match works(Command::new("dpkg-deb").arg("--version")) {
        true => {
            let package = debian(root, &program, &folder, architecture, &time)?;
            say(package.clone())?;
            shipped.push(package);
        }
        false => say("no package for Debian: dpkg-deb is not installed".to_owned())?,
    }
    // Images and scripts want the bare binary.
    place_binary(&built, &folder.join("duramen"))?;
    shipped.push("duramen".to_owned());
    fs::remove_dir_all(&tree).map_err(|error| error.to_string())?;
    let sums = output(
        Command::new("sha256sum")
            .args(&shipped)
            .current_dir(&folder),
    )?;
    write(&folder.join("SHA256SUMS"), &sums)?;
    say(format!("all in {}", folder.display()))
}

/// Compiles, and says where the binary is.
fn build(root: &Path, target: &str) -> Result<PathBuf, String> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args([
            "build",
            "--locked",
            "--profile",
            PROFILE,
            "--package",
            "duramen",
        ])
        .args([
            "--target",
            target,
            "--message-format",
            "json-render-diagnostics",
        ])
        .current_dir(root)
        .stderr(std::process::Stdio::inherit());
    let compiler = format!("CC_{}", target.replace('-', "_"));
    if target.ends_with("musl") && std::env::var_os(&compiler).is_none() {
        if !works(Command::new("musl-gcc").arg("--version")) {
            return Err(format!(
                "musl-gcc is not installed: apt install musl-tools, or set {compiler}"
            ));
        }
        cargo.env(&compiler, "musl-gcc");
    }
    let told = output(&mut cargo).map_err(|error| {
        format!("{error}; if the target is missing: rustup target add {target}")
    })?;
    let lines = String::from_utf8_lossy(&told).into_owned();
    let artifact = lines
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back();
    artifact.ok_or_else(|| "cargo named no binary".to_owned())
}

/// The manual pages, the completions and the unit, written by the program itself.
fn write_extras(program: &Path, tree: &Path) -> Result<(), String> {
    let generate = |words: &[&str]| output(Command::new(program).arg("generate").args(words));
    let man = tree.join("man");
    make(&man)?;
    generate(&["man", "--dir", &man.display().to_string()])?;
    let completions = tree.join("completions");
    make(&completions)?;
    for (shell, file) in [
        ("bash", "duramen"),
        ("zsh", "_duramen"),
        ("fish", "duramen.fish"),
    ] {
        write(&completions.join(file), &generate(&["completions", shell])?)?;
    }
    write(&tree.join("duramen.service"), &generate(&["systemd"])?)
}

fn pack(folder: &Path, name: &str, time: &str) -> Result<String, String> {
    let archive = format!("{name}.tar.gz");
    let mut tar = Command::new("tar");
    tar.args([
        "--create",
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
    ])
    .args(["--use-compress-program", "gzip -n9"])
    .arg(format!("--mtime=@{time}"))
    .arg(format!("--file={archive}"))
    .arg(name)
    .current_dir(folder);
    output(&mut tar)?;
    Ok(archive)
}

/// A package: the binary, its unit, a configuration to begin with, manual and completions. Nothing is
/// started: a broker that nobody configured should not listen.
fn debian(
    root: &Path,
    program: &Path,
    folder: &Path,
    architecture: &str,
    time: &str,
) -> Result<String, String> {
    let architecture = match architecture {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let tree = folder.join("debian");
    let extras = folder.join("extras");
    write_extras(program, &extras)?;
    place_binary(program, &tree.join("usr/bin/duramen"))?;
    let from = |file: &str| extras.join(file);
    let share = tree.join("usr/share");
    copy(
        &from("duramen.service"),
        &tree.join("usr/lib/systemd/system/duramen.service"),
    )?;
    copy(
        &from("completions/duramen"),
        &share.join("bash-completion/completions/duramen"),
    )?;
    copy(
        &from("completions/_duramen"),
        &share.join("zsh/vendor-completions/_duramen"),
    )?;
    copy(
        &from("completions/duramen.fish"),
        &share.join("fish/vendor_completions.d/duramen.fish"),
    )?;
    copy(&root.join("LICENSE"), &share.join("doc/duramen/copyright"))?;
    let pages = share.join("man/man1");
    make(&pages)?;
    for page in fs::read_dir(from("man")).map_err(|error| error.to_string())? {
        let page = page.map_err(|error| error.to_string())?.path();
        let name = page.file_name().unwrap_or_default().to_string_lossy();
        let packed = output(Command::new("gzip").args(["-n9", "--stdout"]).arg(&page))?;
        write(&pages.join(format!("{name}.gz")), &packed)?;
    }
    write(
        &tree.join("etc/duramen/duramen.toml"),
        CONFIGURATION.as_bytes(),
    )?;
    let control = tree.join("DEBIAN");
    write(&control.join("conffiles"), b"/etc/duramen/duramen.toml\n")?;
    for (script, text) in [
        ("postinst", AFTER_INSTALL),
        ("prerm", BEFORE_REMOVAL),
        ("postrm", AFTER_REMOVAL),
    ] {
        write(&control.join(script), text.as_bytes())?;
        set_mode(&control.join(script), 0o755)?;
    }
    let kilobytes = fs::metadata(program)
        .map_err(|error| error.to_string())?
        .len()
        / 1024
        + 512;
    let fields = format!(
        "Package: duramen\nVersion: {VERSION}\nArchitecture: {architecture}\n\
         Maintainer: The Duramen authors <duramen@localhost>\nInstalled-Size: {kilobytes}\n\
         Section: net\nPriority: optional\n\
         Description: Kafka-compatible log in one binary\n \
         Speaks Kafka's protocol, so every client and tool of Kafka's works unchanged.\n \
         Durable before it answers; no JVM, no format step, no second process.\n"
    );
    write(&control.join("control"), fields.as_bytes())?;
    let package = format!("duramen_{VERSION}_{architecture}.deb");
    let mut pack = Command::new("dpkg-deb");
    pack.args(["--build", "--root-owner-group", "-Zxz", "debian", &package])
        .env("SOURCE_DATE_EPOCH", time)
        .current_dir(folder);
    output(&mut pack)?;
    for tree in [tree, extras] {
        fs::remove_dir_all(tree).map_err(|error| error.to_string())?;
    }
    Ok(package)
}

/// When the commit was made, Unix seconds; 0 outside of a repository.
fn commit_time(root: &Path) -> String {
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]).current_dir(root);
    let told = output(&mut git).unwrap_or_default();
    let time = String::from_utf8_lossy(&told).trim().to_owned();
    match time.is_empty() {
        true => "0".to_owned(),
        false => time,
    }
}

/// Runs a program that must succeed, and returns what it wrote.
fn output(command: &mut Command) -> Result<Vec<u8>, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    match done.status.success() {
        true => Ok(done.stdout),
        false => Err(format!(
            "{name}: {}: {}",
            done.status,
            String::from_utf8_lossy(&done.stderr).trim()
        )),
    }
}

fn works(command: &mut Command) -> bool {
    output(command).is_ok()
}

fn place_binary(from: &Path, to: &Path) -> Result<PathBuf, String> {
    copy(from, to)?;
    set_mode(to, 0o755)?;
    Ok(to.to_path_buf())
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let bytes = fs::read(from).map_err(|error| format!("{}: {error}", from.display()))?;
    write(to, &bytes)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    if let Some(folder) = path.parent() {
        make(folder)?;
    }
    fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    set_mode(path, 0o644)
}

fn make(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))
}

/// An empty folder: nothing of an earlier run is shipped.
fn renew(folder: &Path) -> Result<(), String> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", folder.display()))
        }
        _ => make(folder),
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<(), String> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|error| format!("{}: {error}", path.display()))
}
