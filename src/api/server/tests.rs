use std::sync::atomic::{AtomicUsize, Ordering};

use axum::{Router, body::Body, extract::Extension, routing::get};
use http_body_util::BodyExt;
use hyper::client::conn::http2;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Semaphore, oneshot},
    task::JoinHandle,
};

use super::{preface::PREFACE, *};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const LONG: Duration = Duration::from_mins(1);
const SHORT: Duration = Duration::from_millis(50);

/// A body of which nothing ever comes.
struct Endless;

impl hyper::body::Body for Endless {
    type Data = axum::body::Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Infallible>>> {
        std::task::Poll::Pending
    }
}

/// A server of `/`, which answers with the caller's address, of `/slow`, which waits to be released, and of `/endless`.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<usize>,
    slow: Arc<Slow>,
}

struct Slow {
    entered: Semaphore,
    release: Semaphore,
    dropped: AtomicUsize,
}

impl Slow {
    async fn call(&self) -> &'static str {
        struct Count<'a>(&'a AtomicUsize);
        impl Drop for Count<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let _count = Count(&self.dropped);
        self.entered.add_permits(1);
        self.release.acquire().await.unwrap().forget();
        "slow"
    }
}

async fn start(limits: Limits, drain: Duration) -> Running {
    let none = || Semaphore::new(0);
    let slow = Arc::new(Slow { entered: none(), release: none(), dropped: AtomicUsize::new(0) });
    let handler = Arc::clone(&slow);
    let app = Router::new()
        .route("/", get(async |Extension(peer): Extension<Peer>| peer.address.to_string()))
        .route("/slow", get(async move || handler.call().await))
        .route("/panic", get(async || -> String { panic!("oh") }));
    let endless = Router::new().route("/endless", get(async || Body::new(Endless)));
    let app = app.merge(crate::api::streams::end_with(&CancellationToken::new(), endless));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async { stopped.await.unwrap() };
    let app = crate::api::guard::guard(app, &[], &limits, crate::api::metrics::Metrics::of_no_rpc());
    let ended = tokio::spawn(serve(listener, app, None, limits, shutdown, drain));
    Running { address, stop, ended, slow }
}

impl Running {
    async fn connect(&self, first: &[u8]) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(first).await.unwrap();
        socket
    }

    async fn http2(&self) -> http2::SendRequest<Body> {
        let io = TokioIo::new(TcpStream::connect(self.address).await.unwrap());
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    async fn stop(self) -> usize {
        self.stop.send(()).unwrap();
        within(self.ended).await.unwrap()
    }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(LONG, what).await.expect("it takes too long")
}

/// Everything until the server closes.
async fn rest(socket: &mut TcpStream) -> String {
    let mut read = Vec::new();
    // A reset is an end, too.
    let _ = within(socket.read_to_end(&mut read)).await;
    String::from_utf8_lossy(&read).into_owned()
}

async fn head(socket: &mut TcpStream) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        read.push(within(socket.read_u8()).await.unwrap());
    }
    String::from_utf8(read).unwrap()
}

fn to(running: &Running, path: &str) -> Request<Body> {
    Request::get(format!("http://{}{path}", running.address)).body(Body::empty()).unwrap()
}

async fn text(answer: hyper::Response<Incoming>) -> String {
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_are_served_on_one_port_and_know_the_peer() {
    let running = start(Limits::default(), LONG).await;
    let mut socket = running.connect(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    let peer = socket.local_addr().unwrap().to_string();
    let answer = rest(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&peer), "{answer}");
    let answer = within(running.http2().await.send_request(to(&running, "/"))).await.unwrap();
    assert_eq!(answer.version(), axum::http::Version::HTTP_2);
    assert!(text(answer).await.starts_with("127.0.0.1:"));
    assert_eq!(running.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_have_nodelay() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, peer) = listener.accept().await.unwrap();
    let accepted = accepted.into_std().unwrap();
    let same = accepted.try_clone().unwrap();
    assert!(!same.nodelay().unwrap());
    let limits = Limits::default();
    let app = Router::new().route("/", get(async || "here"));
    let stop = CancellationToken::new();
    let server = Server { http: http(&limits), app: app.into(), tls: None, limits, stop };
    let serving = Arc::new(server).connection(TcpStream::from_std(accepted).unwrap(), peer);
    let answered = async {
        client.write_all(GET).await.unwrap();
        head(&mut client).await;
    };
    tokio::select! { () = serving => {}, () = answered => {} }
    assert!(same.nodelay().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preface_in_pieces_is_one() {
    let running = start(Limits::default(), LONG).await;
    let mut socket = running.connect(&PREFACE[..10]).await;
    tokio::task::yield_now().await;
    socket.write_all(&PREFACE[10..]).await.unwrap();
    socket.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut frame = [0; 9];
    within(socket.read_exact(&mut frame)).await.unwrap();
    assert_eq!(frame[3], 4, "SETTINGS");
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_slow_and_idle_connections_are_closed() {
    // S60
    let limits = Limits {
        first_byte_timeout: SHORT,
        header_read_timeout: SHORT,
        keep_alive_interval: SHORT,
        keep_alive_timeout: SHORT,
        ..Limits::default()
    };
    let running = start(limits, LONG).await;
    let silent: [&[u8]; 5] = [b"", b"GET / HT", b"GET / HTTP/1.1\r\nhost:", &PREFACE[..10], PREFACE];
    for bytes in silent {
        let mut socket = running.connect(bytes).await;
        rest(&mut socket).await;
    }
    let mut idle = running.connect(GET).await;
    assert!(rest(&mut idle).await.starts_with("HTTP/1.1 200"), "idle after an answer");
    assert_eq!(running.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_headers_are_refused() {
    // S60
    let running = start(Limits::default(), LONG).await;
    let long = format!("GET / HTTP/1.1\r\nhost: x\r\nlong: {}\r\n\r\n", "x".repeat(17 * 1024));
    let mut socket = running.connect(long.as_bytes()).await;
    assert!(head(&mut socket).await.starts_with("HTTP/1.1 431"));
    let mut request = to(&running, "/");
    request.headers_mut().insert("long", "x".repeat(17 * 1024).parse().unwrap());
    let answer = within(running.http2().await.send_request(request)).await.unwrap();
    assert_eq!(answer.status(), 431);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_streams_are_refused() {
    // S60
    let running = start(Limits { max_concurrent_streams: 2, ..Limits::default() }, LONG).await;
    let mut bytes = PREFACE.to_vec();
    bytes.extend(b"\0\0\0\x04\0\0\0\0\0");
    for stream in [1, 3, 5] {
        // GET http://x/slow: three entries of HPACK's static table, and two literals.
        let block = b"\x82\x86\x41\x01x\x44\x05/slow";
        bytes.extend([0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, stream]);
        bytes.extend(block);
    }
    let mut socket = running.connect(&bytes).await;
    loop {
        let mut frame = [0; 9];
        within(socket.read_exact(&mut frame)).await.unwrap();
        let mut payload = vec![0; usize::from(frame[2])];
        within(socket.read_exact(&mut payload)).await.unwrap();
        if frame[3] == 3 {
            assert_eq!(
                (frame[8], payload.as_slice()),
                (5, &[0, 0, 0, 7][..]),
                "REFUSED_STREAM for the third"
            );
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_cap_are_closed_until_there_is_room() {
    // S60
    let running = start(Limits { max_connections: 1, ..Limits::default() }, LONG).await;
    let mut first = running.connect(GET).await;
    head(&mut first).await;
    let mut second = TcpStream::connect(running.address).await.unwrap();
    // It may be closed before this is written.
    let _ = second.write_all(GET).await;
    assert_eq!(rest(&mut second).await, "");
    drop(first);
    within(async {
        loop {
            let mut third = TcpStream::connect(running.address).await.unwrap();
            let sent = third.write_all(GET).await;
            if sent.is_ok() && third.read_u8().await.is_ok() {
                break;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_connection_goes_away() {
    // S60
    let limits = Limits {
        max_connection_age: SHORT,
        request_timeout: SHORT,
        keep_alive_interval: 10 * LONG,
        ..Limits::default()
    };
    let running = start(limits, LONG).await;
    let mut idle = running.http2().await;
    within(async {
        while idle.ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // This one reads no answers and acknowledges nothing.
    let mut deaf = running.connect(PREFACE).await;
    deaf.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
    rest(&mut deaf).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_told_that_its_connection_has_grown_old() {
    // S60
    let limits = Limits { max_connection_age: SHORT, ..Limits::default() };
    let running = start(limits, LONG).await;
    let answer = within(running.http2().await.send_request(to(&running, "/endless"))).await.unwrap();
    let end = within(answer.into_body().collect()).await.unwrap();
    assert_eq!(end.trailers().unwrap()["grpc-status"], "14");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_calls_finish_and_closes_idle_connections() {
    let running = start(Limits::default(), LONG).await;
    let mut idle = [running.connect(GET).await, running.connect(b"").await];
    head(&mut idle[0]).await;
    let mut client = running.http2().await;
    let call = tokio::spawn(client.send_request(to(&running, "/slow")));
    let mut old = running.connect(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    drop(within(running.slow.entered.acquire_many(2)).await.unwrap());
    let Running { stop, ended, slow, .. } = running;
    stop.send(()).unwrap();
    for socket in &mut idle {
        rest(socket).await;
    }
    assert!(!ended.is_finished());
    slow.release.add_permits(2);
    assert_eq!(text(within(call).await.unwrap().unwrap()).await, "slow");
    assert!(rest(&mut old).await.ends_with("slow"));
    assert_eq!(within(ended).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_cuts_what_takes_too_long() {
    let running = start(Limits::default(), SHORT).await;
    let mut client = running.http2().await;
    let call = tokio::spawn(client.send_request(to(&running, "/slow")));
    let mut old = running.connect(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    drop(within(running.slow.entered.acquire_many(2)).await.unwrap());
    let slow = Arc::clone(&running.slow);
    assert_eq!(running.stop().await, 2);
    assert!(within(call).await.unwrap().is_err());
    assert_eq!(rest(&mut old).await, "");
    within(async {
        while slow.dropped.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_one_call_and_not_its_connection() {
    // S64
    let running = start(Limits::default(), LONG).await;
    let mut socket = running.connect(b"GET /panic HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(head(&mut socket).await.starts_with("HTTP/1.1 500"));
    socket.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(rest(&mut socket).await.contains("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_upload_is_read_so_that_its_sender_sees_why() {
    // S60
    let running = start(Limits::default(), LONG).await;
    let mut post = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3145728\r\n\r\n".to_vec();
    post.resize(post.len() + 3_145_728, b' ');
    let mut socket = running.connect(&post).await;
    assert!(head(&mut socket).await.starts_with("HTTP/1.1 413"));
    socket.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(rest(&mut socket).await.contains("HTTP/1.1 200"));
}
