//! The doors: gRPC, gRPC-web and REST on one port, answered by one set of handlers.

pub mod codec;
mod openapi;
pub mod pb;
pub mod rest;
pub mod status;
