//! The log under openraft's own suite, under crashes at every disk operation, and a whole node.

mod crash;
mod node;
mod suite;

use std::sync::{Arc, Mutex};

use crate::StateMachine;

/// A state machine that remembers every command, and shows them to the test.
#[derive(Clone, Default)]
struct Memory {
    commands: Arc<Mutex<Applied>>,
}

/// Commands and where they stood.
type Applied = Vec<(u64, Vec<u8>)>;

impl Memory {
    fn commands(&self) -> Vec<Vec<u8>> {
        self.commands
            .lock()
            .expect("whole")
            .iter()
            .map(|(_, command)| command.clone())
            .collect()
    }
}

impl StateMachine for Memory {
    fn apply(&mut self, index: u64, command: &[u8]) -> Vec<u8> {
        let mut commands = self.commands.lock().expect("whole");
        assert!(
            commands.last().is_none_or(|(last, _)| *last < index),
            "indexes grow"
        );
        commands.push((index, command.to_vec()));
        commands.len().to_string().into_bytes()
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut out = stdx::Writer::new();
        for (index, command) in self.commands.lock().expect("whole").iter() {
            out.u64_le(*index).bytes_u32_le(command);
        }
        out.into_bytes()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        let mut input = stdx::Reader::new(snapshot);
        let mut commands = Vec::new();
        while !input.is_empty() {
            let index = input.u64_le().map_err(|error| error.to_string())?;
            let command = input.bytes_u32_le().map_err(|error| error.to_string())?;
            commands.push((index, command.to_vec()));
        }
        *self.commands.lock().expect("whole") = commands;
        Ok(())
    }
}
