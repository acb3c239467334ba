//! Each fault shown on a plain echo server.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::*;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
/// Long enough on a busy machine; nothing waits so long unless it fails.
const PATIENCE: Duration = Duration::from_secs(10);
/// Long enough to see that nothing comes.
const SILENCE: Duration = Duration::from_millis(200);

async fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind(ANY).await.expect("a port");
    let addr = listener.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    addr
}

async fn free_port() -> SocketAddr {
    TcpListener::bind(ANY).await.expect("a port").local_addr().expect("address")
}

/// A proxy in front of an echo server, and a connection that has echoed once.
async fn echoing() -> (Proxy, SocketAddr, TcpStream) {
    let listen = free_port().await;
    let proxy = Proxy::start(listen, echo_server().await, 1).await.expect("listens");
    let mut stream = TcpStream::connect(listen).await.expect("connects");
    assert_eq!(echo(&mut stream, b"before").await.expect("echoes"), b"before");
    (proxy, listen, stream)
}

async fn echo(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(bytes).await?;
    let mut back = vec![0; bytes.len()];
    timeout(PATIENCE, stream.read_exact(&mut back)).await.expect("in time")?;
    Ok(back)
}

/// The connection ends without another byte.
async fn ends(stream: &mut TcpStream) -> bool {
    let read = timeout(PATIENCE, stream.read(&mut [0; 64])).await.expect("in time");
    matches!(read, Ok(0) | Err(_))
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    timeout(SILENCE, stream.read(&mut [0; 64])).await.is_err()
}

#[tokio::test]
async fn without_a_fault_everything_arrives_and_the_end_too() {
    let (proxy, _, mut stream) = echoing().await;
    let long: Vec<u8> = (0..1_000_000u32).map(|n| n as u8).collect();
    let (mut read, mut write) = stream.split();
    let mut back = Vec::new();
    let (sent, received) = tokio::join!(
        async {
            write.write_all(&long).await?;
            write.shutdown().await
        },
        read.read_to_end(&mut back)
    );
    sent.expect("sent");
    received.expect("received");
    assert!(back == long, "{} bytes came back", back.len());
    assert_eq!(proxy.connections(), (1, 0));
}

#[tokio::test]
async fn delay_makes_later_and_keeps_the_order() {
    let (proxy, _, mut stream) = echoing().await;
    proxy.set(Fault::Delay { mean: Duration::from_millis(40) });
    let started = Instant::now();
    for n in 0..20u8 {
        assert_eq!(echo(&mut stream, &[n]).await.expect("echoes"), [n]);
    }
    // 40 delays of a mean of 40 ms; the generator's own test holds its mean.
    assert!(started.elapsed() > Duration::from_millis(400), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_healed_link_delivers_at_once() {
    let (proxy, _, mut stream) = echoing().await;
    proxy.set(Fault::Slow { bytes_per_second: 1 });
    stream.write_all(&[7; 3000]).await.expect("sent");
    assert!(is_silent(&mut stream).await);
    proxy.set(Fault::None);
    let mut back = [0; 3000];
    timeout(PATIENCE, stream.read_exact(&mut back)).await.expect("not after 50 minutes").expect("echoes");
    assert_eq!(back, [7; 3000]);
}

#[tokio::test]
async fn slow_takes_its_time() {
    let (proxy, _, mut stream) = echoing().await;
    proxy.set(Fault::Slow { bytes_per_second: 20_000 });
    let started = Instant::now();
    echo(&mut stream, &[0; 5_000]).await.expect("echoes");
    // Each way takes a quarter of a second.
    assert!(started.elapsed() >= Duration::from_millis(500), "{:?}", started.elapsed());
}

#[tokio::test]
async fn loss_stalls_then_resets() {
    let (proxy, listen, mut stream) = echoing().await;
    proxy.set(Fault::Loss { percent: 100, stall: SILENCE * 2 });
    stream.write_all(b"lost").await.expect("sent");
    assert!(is_silent(&mut stream).await, "it stalls");
    assert!(ends(&mut stream).await, "then it breaks");
    proxy.set(Fault::None);
    let mut again = TcpStream::connect(listen).await.expect("connects");
    assert_eq!(echo(&mut again, b"again").await.expect("echoes"), b"again");
    assert_eq!(proxy.connections(), (2, 1));
}

#[tokio::test]
async fn half_open_accepts_keeps_silent_and_delivers_when_it_is_over() {
    for silence in [Silence::ToTarget, Silence::FromTarget, Silence::Both] {
        let (proxy, listen, mut old) = echoing().await;
        proxy.set(Fault::HalfOpen(silence));
        let mut new = TcpStream::connect(listen).await.expect("accepted");
        for stream in [&mut old, &mut new] {
            stream.write_all(b"anybody?").await.expect("taken");
            assert!(is_silent(stream).await, "{silence:?}");
        }
        proxy.set(Fault::None);
        for stream in [&mut old, &mut new] {
            let mut back = [0; 8];
            timeout(PATIENCE, stream.read_exact(&mut back)).await.expect("in time").expect("echoes");
            assert_eq!(&back, b"anybody?");
        }
    }
}

#[tokio::test]
async fn half_open_one_way_passes_the_other() {
    let listener = TcpListener::bind(ANY).await.expect("a port");
    let listen = free_port().await;
    let target = listener.local_addr().expect("address");
    let proxy = Proxy::start(listen, target, 1).await.expect("listens");
    proxy.set(Fault::HalfOpen(Silence::FromTarget));
    let mut client = TcpStream::connect(listen).await.expect("accepted");
    let (mut server, _) = listener.accept().await.expect("connected");
    client.write_all(b"question").await.expect("sent");
    let mut question = [0; 8];
    timeout(PATIENCE, server.read_exact(&mut question)).await.expect("in time").expect("arrives");
    server.write_all(b"answer").await.expect("sent");
    assert!(is_silent(&mut client).await);
}

#[tokio::test]
async fn reset_breaks_old_and_new_connections() {
    let (proxy, listen, mut old) = echoing().await;
    proxy.set(Fault::Reset);
    assert!(ends(&mut old).await);
    let mut new = TcpStream::connect(listen).await.expect("the listener is there");
    assert!(ends(&mut new).await);
    proxy.set(Fault::None);
    let mut again = TcpStream::connect(listen).await.expect("connects");
    assert_eq!(echo(&mut again, b"again").await.expect("echoes"), b"again");
}

#[tokio::test]
async fn corruption_flips_single_bits_and_is_counted_until_the_connection_ends() {
    let (proxy, _, mut stream) = echoing().await;
    proxy.set(Fault::Corrupt { every_bytes: 1 });
    let sent = [0u8; 64];
    let back = echo(&mut stream, &sent).await.expect("echoes");
    let flipped: u32 = back.iter().map(|byte| byte.count_ones()).sum();
    // One bit for each read of the proxy; the same one flipped back would be none.
    assert!(u64::from(flipped) <= proxy.flips() && flipped % 2 == proxy.flips() as u32 % 2, "{flipped}");
    assert!(proxy.flips() >= 2);
    assert_eq!(proxy.tainted(), 1);
    drop(stream);
    let deadline = Instant::now() + PATIENCE;
    while proxy.tainted() > 0 {
        assert!(Instant::now() < deadline, "still counted");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_target_that_is_not_there_resets_the_client() {
    let listen = free_port().await;
    let _proxy = Proxy::start(listen, free_port().await, 1).await.expect("listens");
    let mut stream = TcpStream::connect(listen).await.expect("the listener is there");
    assert!(ends(&mut stream).await);
}
