//! Questions to a group's coordinator, asked again while it is loading, moving or not there yet.

use std::time::Duration;

use crate::cluster::Client;
use crate::error::ClientError;

/// Tries before the coordinator's refusal is given up to the caller. With the pauses below a caller
/// waits about a quarter of a minute.
const TRIES_MAX: u32 = 20;
/// Pause after the first try; each further one is twice as long, up to the next constant.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(1);

impl Client {
    /// Asks until the answer is no refusal that passes by itself. Each try looks the coordinator up
    /// anew. What was lost on its way is not asked again: it may have acted.
    pub(crate) async fn ask_patiently<T>(
        &mut self,
        mut ask: impl AsyncFnMut(&mut Client) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut pause = PAUSE_MIN;
        for _ in 1..TRIES_MAX {
            match ask(self).await {
                Err(ClientError::Server { code, .. }) if code.is_retriable() => {}
                outcome => return outcome,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        ask(self).await
    }
}
