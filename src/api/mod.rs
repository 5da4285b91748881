//! The doors: gRPC, gRPC-web and REST on one port, answered by one set of handlers.

pub mod codec;
pub mod door;
pub mod limits;
mod openapi;
pub mod pb;
pub mod rest;
pub mod server;
pub mod status;
