//! NATS, where it is installed: a queue group of subscribers, and a work queue of JetStream on files.
//!
//! Two more yardsticks that others have built. Client and agents speak its text protocol over plain sockets: a message that has
//! come with others is answered with others, in one write. A queue group has no memory: it is to be compared with EPHEMERAL. The work
//! queue keeps what is not done in files, and by default writes them through every two minutes and not for each message, so
//! it promises less than DURABLE does.

use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinSet,
    time::timeout,
};

use super::{BenchError, agents::AgentsPlan};

/// The program.
const PROGRAM: &str = "nats-server";
/// Where systems put servers, which is not where users look for programs.
const SERVERS: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin"];
/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;
/// Longest wait for an answer while things are set up.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Longer than any measure: a task that is given out again would look like a second result.
const ACK_WAIT_NS: u64 = 600_000_000_000;

/// Tasks of a queue group.
pub(super) const TASKS: &str = "tasks";
/// Tasks of a work queue.
pub(super) const KEPT_TASKS: &str = "kept.tasks";
/// Where results go.
pub(super) const RESULTS: &str = "results";
/// Where the work queue says that it keeps a task.
pub(super) const KEPT: &str = "kept.words";

/// Where the program is, if it is installed.
pub(super) fn program() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(SERVERS.iter().map(PathBuf::from));
    directories.map(|directory| directory.join(PROGRAM)).find(|program| program.is_file())
}

/// How it is started: on any free port, which it writes into a file in `directory`.
pub(super) fn arguments(directory: &Path, kept: bool) -> Vec<String> {
    let directory = directory.display().to_string();
    let mut args: Vec<String> = ["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir"].map(str::to_owned).to_vec();
    args.push(directory.clone());
    if kept {
        args.extend(["-js".to_owned(), "-sd".to_owned(), directory + "/data"]);
    }
    args
}

/// The file that it writes its port into.
pub(super) fn ports_file(directory: &Path, pid: u32) -> PathBuf {
    directory.join(format!("{PROGRAM}_{pid}.ports"))
}

/// Something that the server says.
#[derive(Debug, PartialEq)]
pub(super) enum Heard {
    /// A message for this subscription.
    Message { subscription: u8, reply: Bytes, payload: Bytes },
    /// It wants to know whether the other side lives.
    Ping,
    /// It lives.
    Pong,
    /// Something is wrong.
    Error(String),
    /// Who it is, and the like.
    Other,
}

/// The next thing in the buffer, if it is there as a whole.
pub(super) fn next(buffer: &mut BytesMut) -> Result<Option<Heard>, String> {
    let Some(end) = buffer.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
    let line = buffer[..end].trim_ascii_end();
    let Some(rest) = line.strip_prefix(b"MSG ") else {
        let heard = match line {
            b"PING" => Heard::Ping,
            b"PONG" => Heard::Pong,
            _ if line.starts_with(b"-ERR") => Heard::Error(String::from_utf8_lossy(line).into_owned()),
            _ => Heard::Other,
        };
        buffer.advance(end + 1);
        return Ok(Some(heard));
    };
    let strange = || format!("`{}` is no message", String::from_utf8_lossy(line));
    let words: Vec<&[u8]> = rest.split(|byte| *byte == b' ').collect();
    let (subscription, reply, length) = match words.as_slice() {
        [_, [subscription], length] => (*subscription, 0..0, length),
        [subject, [subscription], reply, length] => {
            let begins = 4 + subject.len() + 3;
            (*subscription, begins..begins + reply.len(), length)
        }
        _ => return Err(strange()),
    };
    let length: usize = str::from_utf8(length).ok().and_then(|length| length.parse().ok()).ok_or_else(strange)?;
    if buffer.len() < end + 1 + length + 2 {
        return Ok(None);
    }
    let whole = buffer.split_to(end + 1 + length + 2).freeze();
    let payload = whole.slice(end + 1..end + 1 + length);
    Ok(Some(Heard::Message { subscription, reply: whole.slice(reply), payload }))
}

/// Puts a message into what is to be written.
pub(super) fn publish(out: &mut BytesMut, subject: &[u8], reply: &str, payload: &[u8]) {
    out.extend_from_slice(b"PUB ");
    out.extend_from_slice(subject);
    if !reply.is_empty() {
        out.extend_from_slice(b" ");
        out.extend_from_slice(reply.as_bytes());
    }
    out.extend_from_slice(format!(" {}\r\n", payload.len()).as_bytes());
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

/// A connection.
pub(super) struct Connection {
    read: OwnedReadHalf,
    pub write: OwnedWriteHalf,
    pub buffer: BytesMut,
}

impl Connection {
    /// Dials, subscribes, and waits until the server knows of it. A subscription is `SUBJECT NUMBER` or `SUBJECT GROUP NUMBER`.
    pub(super) async fn open(url: &str, subscriptions: &[String]) -> Result<Self, BenchError> {
        let failed = || BenchError::io(format!("speak with NATS at {url}"));
        let address: SocketAddr = url
            .trim_start_matches("nats://")
            .parse()
            .map_err(|_| failed()(std::io::Error::other("this is no address")))?;
        let stream = TcpStream::connect(address).await.map_err(failed())?;
        stream.set_nodelay(true).map_err(failed())?;
        let (read, write) = stream.into_split();
        let mut connection = Self { read, write, buffer: BytesMut::with_capacity(READ_BYTES) };
        let mut hello = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":false}\r\n".to_owned();
        for subscription in subscriptions {
            hello += &format!("SUB {subscription}\r\n");
        }
        connection.write.write_all((hello + "PING\r\n").as_bytes()).await.map_err(failed())?;
        let known = async {
            while connection.heard().await? != Heard::Pong {}
            Ok(())
        };
        let late = || std::io::Error::from(std::io::ErrorKind::TimedOut);
        timeout(ANSWER_MAX, known).await.unwrap_or_else(|_| Err(late())).map_err(failed())?;
        Ok(connection)
    }

    /// The next thing that it says; pings are answered meanwhile.
    pub(super) async fn heard(&mut self) -> std::io::Result<Heard> {
        loop {
            match next(&mut self.buffer).map_err(std::io::Error::other)? {
                Some(Heard::Ping) => self.write.write_all(b"PONG\r\n").await?,
                Some(Heard::Error(error)) => return Err(std::io::Error::other(error)),
                Some(heard) => return Ok(heard),
                None => self.more().await?,
            }
        }
    }

    /// Reads what is there, and waits until something is.
    async fn more(&mut self) -> std::io::Result<()> {
        self.buffer.reserve(READ_BYTES);
        match self.read.read_buf(&mut self.buffer).await? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// A question with its answer, in JSON.
    async fn ask(&mut self, subject: &str, question: &serde_json::Value) -> Result<(), BenchError> {
        let failed = || BenchError::io(format!("ask NATS for {subject}"));
        let mut out = BytesMut::new();
        publish(&mut out, subject.as_bytes(), "answers", question.to_string().as_bytes());
        self.write.write_all(&out).await.map_err(failed())?;
        let answer = async {
            loop {
                if let Heard::Message { payload, .. } = self.heard().await? {
                    return Ok::<_, std::io::Error>(payload);
                }
            }
        };
        let late = || std::io::Error::from(std::io::ErrorKind::TimedOut);
        let answer = timeout(ANSWER_MAX, answer).await.unwrap_or_else(|_| Err(late())).map_err(failed())?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        if answer.contains("\"error\"") { Err(failed()(std::io::Error::other(answer))) } else { Ok(()) }
    }
}

/// Agents that are all there; dropped, they go.
pub(super) struct Agents(JoinSet<std::io::Error>);

impl Agents {
    /// Dials and subscribes; for a work queue it is made first.
    pub(super) async fn gather(plan: &AgentsPlan, kept: bool) -> Result<Self, BenchError> {
        crate::files::allow_connections(plan.agents)?;
        if kept {
            make_work_queue(&plan.url).await?;
        }
        let subject = if kept { "kept.out" } else { TASKS };
        let mut agents = JoinSet::new();
        for _ in 0..plan.agents {
            let connection = Connection::open(&plan.url, &[format!("{subject} agents 1")]).await?;
            agents.spawn(work(connection, kept));
        }
        Ok(Self(agents))
    }

    /// Waits until one ends, which none should.
    pub(super) async fn ended(&mut self) -> BenchError {
        let error = match self.0.join_next().await {
            Some(Ok(error)) => error,
            _ => std::io::ErrorKind::BrokenPipe.into(),
        };
        BenchError::io("keep the agents")(error)
    }
}

async fn make_work_queue(url: &str) -> Result<(), BenchError> {
    let mut connection = Connection::open(url, &["answers 1".to_owned()]).await?;
    let stream = serde_json::json!({
        "name": "tasks", "subjects": [KEPT_TASKS], "retention": "workqueue", "storage": "file", "num_replicas": 1,
    });
    connection.ask("$JS.API.STREAM.CREATE.tasks", &stream).await?;
    let consumer = serde_json::json!({"stream_name": "tasks", "config": {
        "durable_name": "agents", "deliver_subject": "kept.out", "deliver_group": "agents", "ack_policy": "explicit",
        "ack_wait": ACK_WAIT_NS, "max_ack_pending": 65_536, "deliver_policy": "all",
    }});
    connection.ask("$JS.API.CONSUMER.DURABLE.CREATE.tasks.agents", &consumer).await
}

/// Answers messages until the connection breaks.
async fn work(mut connection: Connection, kept: bool) -> std::io::Error {
    let mut out = BytesMut::new();
    loop {
        match next(&mut connection.buffer).map_err(std::io::Error::other) {
            Ok(Some(Heard::Message { reply, payload, .. })) => {
                let output = &payload[..payload.len().min(8)];
                if kept {
                    publish(&mut out, RESULTS.as_bytes(), "", output);
                    publish(&mut out, &reply, "", b"+ACK");
                } else {
                    publish(&mut out, &reply, "", output);
                }
            }
            Ok(Some(Heard::Ping)) => out.extend_from_slice(b"PONG\r\n"),
            Ok(Some(Heard::Error(error))) => return std::io::Error::other(error),
            Ok(Some(Heard::Pong | Heard::Other)) => {}
            Ok(None) => {
                if let Err(error) = connection.write.write_all(&out).await {
                    return error;
                }
                out.clear();
                if let Err(error) = connection.more().await {
                    return error;
                }
            }
            Err(error) => return error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8]) -> Vec<Heard> {
        let mut buffer = BytesMut::from(text);
        std::iter::from_fn(|| next(&mut buffer).unwrap()).collect()
    }

    fn message(reply: &'static str, payload: &'static [u8]) -> Heard {
        Heard::Message { subscription: b'1', reply: Bytes::from(reply), payload: Bytes::from(payload) }
    }

    #[test]
    fn messages_are_told_apart_and_waited_for() {
        let text = b"INFO {}\r\nMSG tasks 1 results 4\r\na\r\nb\r\nPING\r\nMSG results 1 2\r\nok\r\n";
        let heard = [Heard::Other, message("results", b"a\r\nb"), Heard::Ping, message("", b"ok")];
        assert_eq!(all(text), heard);
        for cut in 1..text.len() {
            assert!(heard.starts_with(&all(&text[..cut])), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_said_can_be_read() {
        let mut out = BytesMut::new();
        publish(&mut out, b"tasks", "results", b"1234");
        assert_eq!(&out[..], b"PUB tasks results 4\r\n1234\r\n");
    }
}
