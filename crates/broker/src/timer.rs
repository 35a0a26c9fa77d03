//! The one place that sleeps on a reactor.

use std::time::Duration;

use world::net::LocalFuture;

/// Ready after `duration`.
pub fn sleep(duration: Duration) -> LocalFuture<'static, ()> {
    Box::pin(tokio::time::sleep(duration))
}
