//! A mail server that takes everything: each delivery is seen, also a second one of the same mail.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpSocket, TcpStream},
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        watch,
    },
    time::timeout,
};

use crate::{mailbox::Mail, support::Setup};

/// Within this a mail comes that is to come.
const LONG: Duration = Duration::from_mins(1);

/// A running mail server.
pub struct Sink {
    pub address: SocketAddr,
    taken: UnboundedReceiver<Mail>,
    accepts: watch::Sender<bool>,
}

/// A port of the test's own where nobody listens yet.
pub struct Port {
    pub address: SocketAddr,
    socket: TcpSocket,
}

impl Port {
    pub fn reserve() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Self { address: socket.local_addr().unwrap(), socket }
    }

    pub fn open(self) -> Sink {
        let listener = self.socket.listen(1024).unwrap();
        let (sender, taken) = unbounded_channel();
        let (accepts, state) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(talk(stream, sender.clone(), state.clone()));
            }
        });
        Sink { address: self.address, taken, accepts }
    }
}

impl Sink {
    pub fn start() -> Self {
        Port::reserve().open()
    }

    /// While it does not accept, messages are taken but not answered for.
    pub fn accept(&self, accepts: bool) {
        self.accepts.send_replace(accepts);
    }

    /// The next message that it takes.
    pub async fn next(&mut self) -> Mail {
        timeout(LONG, self.taken.recv()).await.expect("a mail").unwrap()
    }

    /// The messages that it has taken and that were not looked at.
    pub fn rest(&mut self) -> Vec<Mail> {
        std::iter::from_fn(|| self.taken.try_recv().ok()).collect()
    }
}

impl Setup {
    /// Sends mails to a mail server at this address.
    pub fn mails_to(self, address: SocketAddr) -> Self {
        self.set("MAIL__TRANSPORT", "smtp")
            .set("MAIL__SMTP_URL", &format!("smtp://{address}"))
            .set("MAIL__FROM", "Countersign <auth@example.com>")
    }
}

async fn talk(stream: TcpStream, sender: UnboundedSender<Mail>, mut accepts: watch::Receiver<bool>) {
    let mut stream = BufReader::new(stream);
    let mut answer = "220 sink";
    // It ends when the other side hangs up.
    while stream.write_all(format!("{answer}\r\n").as_bytes()).await.is_ok() {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or_default() == 0 {
            return;
        }
        answer = match line.trim_end() {
            "DATA" => {
                if stream.write_all(b"354 go on\r\n").await.is_err() {
                    return;
                }
                let Some(message) = message(&mut stream).await else { return };
                let _ = sender.send(Mail::parse(&message));
                if accepts.wait_for(|accepts| *accepts).await.is_err() {
                    return;
                }
                "250 taken"
            }
            "QUIT" => "221 bye",
            _ => "250 yes",
        };
    }
}

/// The lines up to the one with a single dot (RFC 5321, 4.5.2).
async fn message(stream: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        let start = message.len();
        if stream.read_until(b'\n', &mut message).await.unwrap_or_default() == 0 {
            return None;
        }
        if message[start..] == *b".\r\n" {
            message.truncate(start);
            return Some(message);
        }
        if message[start] == b'.' {
            message.remove(start);
        }
    }
}
