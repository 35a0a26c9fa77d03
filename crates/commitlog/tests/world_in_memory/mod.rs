//! A world without a disk, for the first stories.
#![expect(clippy::unwrap_used, reason = "a test's own world")]

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::{Arc, Mutex};

use world::disk::{Advice, DiskLock, DiskTraits, Entry, FileSlice, Space};
use world::net::{Listener, LocalFuture, Net, Stream};
use world::spawn::{Priority, ReactorStart};
use world::*;

#[derive(Default)]
struct Memory(Mutex<BTreeMap<String, Arc<Mem>>>);
struct Mem(Mutex<Vec<u8>>);
struct Locked;
impl DiskLock for Locked {}

impl Disk for Memory {
    fn open(&self, path: &str, mode: OpenMode) -> DiskResult<Arc<dyn File>> {
        let mut files = self.0.lock().unwrap();
        if mode == OpenMode::CreateNew {
            if files.contains_key(path) {
                return Err(DiskError::AlreadyExists { path: path.into() });
            }
            files.insert(path.into(), Arc::new(Mem(Mutex::default())));
        }
        let file = files.get(path).cloned();
        Ok(file.ok_or(DiskError::NotFound { path: path.into() })?)
    }
    fn create_dir(&self, _: &str) -> DiskResult<()> {
        Ok(())
    }
    fn rename(&self, from: &str, to: &str) -> DiskResult<()> {
        let mut files = self.0.lock().unwrap();
        let file = files.remove(from).unwrap();
        files.insert(to.into(), file);
        Ok(())
    }
    fn unlink(&self, path: &str) -> DiskResult<()> {
        self.0.lock().unwrap().remove(path);
        Ok(())
    }
    fn list(&self, _: &str) -> DiskResult<Vec<Entry>> {
        Ok(Vec::new())
    }
    fn sync_dir(&self, _: &str) -> DiskResult<()> {
        Ok(())
    }
    fn sync_fs(&self) -> DiskResult<()> {
        Ok(())
    }
    fn free_space(&self) -> DiskResult<Space> {
        Ok(Space {
            free: 1 << 40,
            total: 1 << 40,
        })
    }
    fn lock(&self, _: &str) -> DiskResult<Box<dyn DiskLock>> {
        Ok(Box::new(Locked))
    }
    fn probe(&self) -> DiskResult<DiskTraits> {
        Ok(DiskTraits {
            direct: true,
            copy_on_write: false,
            filesystem: "memory".into(),
            durable_write_us: 100,
        })
    }
    fn root(&self) -> String {
        "memory".into()
    }
}

impl File for Mem {
    fn len(&self) -> DiskResult<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }
    fn read_at(&self, buffer: &mut [u8], position: u64) -> DiskResult<usize> {
        let bytes = self.0.lock().unwrap();
        let from = (position as usize).min(bytes.len());
        let count = buffer.len().min(bytes.len() - from);
        buffer[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }
    fn write_at(&self, new: &[u8], position: u64) -> DiskResult<()> {
        let mut bytes = self.0.lock().unwrap();
        let end = position as usize + new.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[position as usize..end].copy_from_slice(new);
        Ok(())
    }
    fn write_vectored_at(&self, slices: &[IoSlice<'_>], mut position: u64) -> DiskResult<()> {
        for slice in slices {
            self.write_at(slice, position)?;
            position += slice.len() as u64;
        }
        Ok(())
    }
    fn write_durable(&self, bytes: &[u8], position: u64) -> DiskResult<()> {
        assert!(bytes.as_ptr().addr().is_multiple_of(4096), "aligned memory");
        assert!(
            bytes.len().is_multiple_of(4096) && position.is_multiple_of(4096),
            "aligned range"
        );
        self.write_at(bytes, position)
    }
    fn start_writeback(&self, _: u64, _: u64) -> DiskResult<()> {
        Ok(())
    }
    fn sync_data(&self) -> DiskResult<()> {
        Ok(())
    }
    fn truncate(&self, length: u64) -> DiskResult<()> {
        self.0.lock().unwrap().resize(length as usize, 0);
        Ok(())
    }
    fn zero_fill(&self, length: u64) -> DiskResult<()> {
        self.truncate(length)
    }
    fn advise(&self, _: u64, _: u64, _: Advice) -> DiskResult<()> {
        Ok(())
    }
}

struct Still;
impl Clock for Still {
    fn now(&self) -> Instant {
        Instant(0)
    }
    fn wall_ms(&self) -> i64 {
        0
    }
}
impl Random for Still {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(7);
    }
}
impl Net for Still {
    fn listen(&self, _: std::net::SocketAddr) -> std::io::Result<Box<dyn Listener>> {
        unreachable!()
    }
    fn connect<'a>(&'a self, _: &'a str) -> LocalFuture<'a, std::io::Result<Box<dyn Stream>>> {
        unreachable!()
    }
}
struct Ended;
impl WorkerHandle for Ended {
    fn join(self: Box<Self>) {}
    fn is_finished(&self) -> bool {
        true
    }
}
impl Spawn for Still {
    fn worker(
        &self,
        _: &'static str,
        _: Priority,
        _: Signal,
        _: Box<dyn Worker>,
    ) -> Box<dyn WorkerHandle> {
        Box::new(Ended)
    }
    fn reactor(&self, _: &'static str, _: ReactorStart) -> Box<dyn WorkerHandle> {
        unreachable!()
    }
    fn wait(&self, _: &Signal, _: Option<std::time::Duration>) -> bool {
        unreachable!()
    }
    fn reactors_suggested(&self) -> usize {
        1
    }
}

pub fn world() -> World {
    World {
        clock: Arc::new(Still),
        disk: Arc::new(Memory::default()),
        net: Arc::new(Still),
        random: Arc::new(Still),
        spawn: Arc::new(Still),
    }
}

/// A batch of `records` records, `payload` bytes in all; only its header is meant to be read.
pub fn batch(records: i32, payload: usize) -> Vec<u8> {
    let mut bytes = vec![0xAB; 61 + payload];
    bytes[..61].fill(0);
    bytes[8..12].copy_from_slice(&(49 + payload as i32).to_be_bytes());
    bytes[16] = 2;
    bytes[23..27].copy_from_slice(&(records - 1).to_be_bytes());
    bytes[43..51].copy_from_slice(&(-1i64).to_be_bytes());
    bytes[57..61].copy_from_slice(&records.to_be_bytes());
    bytes
}

/// The bytes of a slice.
pub fn contents(slice: &FileSlice) -> Vec<u8> {
    let mut bytes = vec![0; slice.length as usize];
    let read = slice.file.read_at(&mut bytes, slice.position).unwrap();
    bytes.truncate(read);
    bytes
}
