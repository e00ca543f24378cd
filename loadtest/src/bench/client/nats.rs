//! The closed loop for NATS: the same course over its own protocol.

use std::time::Duration;

use bytes::BytesMut;
use tokio::{io::AsyncWriteExt as _, time::timeout};

use super::{
    Told, Trouble,
    closed::{Closed, Course, QUIET_MAX, verified},
};
use crate::bench::{
    nats::{Connection, Heard, KEPT, KEPT_TASKS, RESULTS, TASKS, next, publish},
    wire::payload,
};

/// So long after the last result a second one of a task would be seen.
const LINGER: Duration = Duration::from_millis(500);
/// Subscriptions: results, and words that tasks are kept.
const OF_RESULTS: u8 = b'1';

impl Closed {
    /// All tasks over one connection; `kept`: through a work queue.
    pub(in crate::bench) async fn nats(self, url: &str, kept: bool, told: fn(&Told)) -> Result<Told, Trouble> {
        let subscriptions = [format!("{RESULTS} 1"), format!("{KEPT} 2")];
        let opened = Connection::open(url, &subscriptions).await;
        let mut connection = opened.map_err(|error| Trouble::new(error.to_string()))?;
        let mut course = Course::new(self, told);
        let mut room = self.in_flight;
        let mut out = BytesMut::new();
        self.publish(&mut course, kept, &mut room, &mut out);
        while course.open() > 0 {
            connection.write.write_all(&out).await.map_err(broken)?;
            out.clear();
            let first = timeout(QUIET_MAX, connection.heard()).await;
            let first = first.map_err(|_| Trouble::broken(format!("{} results do not come", course.open())))?;
            let mut heard = Some(first.map_err(broken)?);
            let now = course.now();
            while let Some(word) = heard {
                match word {
                    Heard::Message { subscription: OF_RESULTS, payload, .. } => {
                        course.ended(&payload, now)?;
                        room += 1;
                    }
                    Heard::Message { payload, .. } if payload.windows(7).any(|part| part == b"\"error\"") => {
                        return Err(Trouble::new(format!("not kept: {}", String::from_utf8_lossy(&payload))));
                    }
                    Heard::Ping => out.extend_from_slice(b"PONG\r\n"),
                    Heard::Error(error) => return Err(Trouble::new(error)),
                    Heard::Message { .. } | Heard::Pong | Heard::Other => {}
                }
                heard = next(&mut connection.buffer).map_err(Trouble::new)?;
            }
            self.publish(&mut course, kept, &mut room, &mut out);
        }
        let second = async {
            loop {
                if let Heard::Message { subscription: OF_RESULTS, .. } = connection.heard().await.map_err(broken)? {
                    return Err(Trouble::broken("a result came after all results"));
                }
            }
        };
        timeout(LINGER, second).await.unwrap_or(Ok::<(), Trouble>(()))?;
        verified(self.tasks_in_all(), course.open())
    }

    fn publish(self, course: &mut Course, kept: bool, room: &mut u64, out: &mut BytesMut) {
        let (subject, reply) = if kept { (KEPT_TASKS, KEPT) } else { (TASKS, RESULTS) };
        let now = course.now();
        while *room >= self.batch.min(self.in_flight) {
            for _ in 0..self.batch.min(self.in_flight) {
                let Some(number) = course.submit(now) else { return };
                publish(out, subject.as_bytes(), reply, &payload(number));
                *room -= 1;
            }
        }
    }
}

fn broken(error: std::io::Error) -> Trouble {
    Trouble::new(format!("the connection broke: {error}"))
}
