//! axum and nothing else: answers every GET with the same bytes, `bare 127.0.0.1:8104 8192`.

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;

type AnyError = Box<dyn std::error::Error>;

fn main() -> Result<(), AnyError> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(size), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: bare ADDRESS BYTES".into());
    };
    let body = Bytes::from(vec![b'x'; size.parse()?]);
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(&address, body))
}

async fn serve(address: &str, body: Bytes) -> Result<(), AnyError> {
    let answer = || async move { ([(CONTENT_TYPE, "application/octet-stream")], body) };
    let listener = tokio::net::TcpListener::bind(address).await?;
    Ok(axum::serve(listener, Router::new().fallback(answer)).await?)
}
