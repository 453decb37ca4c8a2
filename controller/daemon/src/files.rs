//! Files that commands read and write for people: what failed, on which path, and what to do about it, in the same words
//! everywhere. The daemon's own files (its store, its endpoints) have errors of their own.

use std::fs::File;
use std::path::{Path, PathBuf};

/// Why a file is not read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("open {}: {source}; check the path and that the file is readable", .file.display())]
    Open { file: PathBuf, source: std::io::Error },
    #[error("read {}: {source}; check that it is a file of text", .file.display())]
    Read { file: PathBuf, source: std::io::Error },
    #[error("write {}: {source}; check {option}, and that its folder is there and writable", .file.display())]
    Write { file: PathBuf, option: &'static str, source: std::io::Error },
}

/// Opens a file to read.
pub(crate) fn open(file: &Path) -> Result<File, FileError> {
    File::open(file).map_err(|source| FileError::Open { file: file.to_owned(), source })
}

/// The whole of a file of text.
pub(crate) fn text(file: &Path) -> Result<String, FileError> {
    let mut opened = open(file)?;
    std::io::read_to_string(&mut opened).map_err(|source| FileError::Read { file: file.to_owned(), source })
}

/// Writes the whole of a file that `option` names.
pub(crate) fn write(file: &Path, option: &'static str, content: impl AsRef<[u8]>) -> Result<(), FileError> {
    std::fs::write(file, content).map_err(|source| FileError::Write { file: file.to_owned(), option, source })
}
