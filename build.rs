//! Compiles the protos in pure Rust (protox), so that `cargo build` needs no `protoc`, and keeps the descriptor set that
//! the REST routes, the OpenAPI document and gRPC reflection are read from.

use std::{env, error::Error, fs, path::Path};

const FILES: [&str; 6] = [
    "countersign/v1/admin_service.proto",
    "countersign/v1/auth_service.proto",
    "countersign/v1/errors.proto",
    "countersign/v1/key_service.proto",
    "countersign/v1/resources.proto",
    "envoy/service/auth/v3/external_auth.proto",
];

/// Messages with a password, a token or a key's secret in them. `src/api/pb.rs` prints them without (S57).
const SECRET: [&str; 18] = [
    "ChangePasswordRequest",
    "CompleteLinkRequest",
    "CompleteOAuthRequest",
    "ConfirmEmailChangeRequest",
    "CreateKeyResponse",
    "DeleteMeRequest",
    "ImportedUser",
    "LoginRequest",
    "LogoutRequest",
    "RefreshRequest",
    "RegisterRequest",
    "RequestEmailChangeRequest",
    "ResetPasswordRequest",
    "RotateKeyResponse",
    "StartOAuthResponse",
    "TokenResponse",
    "ValidateCredentialRequest",
    "VerifyEmailRequest",
];

/// The same of Envoy's protos: the headers of somebody's request.
const SECRET_OF_ENVOY: [&str; 2] =
    [".envoy.config.core.v3.HeaderValue", ".envoy.service.auth.v3.AttributeContext.HttpRequest"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=migrations");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;
    // The compiler's own bytes: going through prost-types would drop the google.api.http annotations.
    let descriptors = Path::new(&env::var("OUT_DIR")?).join("descriptors.bin");
    fs::write(descriptors, compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .build_transport(false)
        .codec_path("crate::api::codec::Codec")
        .skip_debug(SECRET.map(|message| format!(".countersign.v1.{message}")))
        .skip_debug(SECRET_OF_ENVOY)
        .extern_path(".google.rpc", "::tonic_types::pb")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
