//! Clients for the service's protos, and a server for one of its methods: the echo.

use std::error::Error;

use tonic_prost_build::manual;

const PROTOS: &str = "../../proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={PROTOS}");
    let mut compiler = protox::Compiler::new([PROTOS])?;
    compiler.include_imports(true).open_file("countersign/v1/auth_service.proto")?;
    tonic_prost_build::configure()
        .build_server(false)
        // Of no use here: not generated, so that they are not unused code.
        .extern_path(".countersign.v1.ApiKey", "()")
        .extern_path(".countersign.v1.RateLimit", "()")
        .compile_fds(compiler.file_descriptor_set())?;
    // Of the same name as the real one, so that a request to the echo is the same to the byte.
    let validate = manual::Method::builder()
        .name("validate_credential")
        .route_name("ValidateCredential")
        .input_type("crate::pb::ValidateCredentialRequest")
        .output_type("crate::pb::ValidateCredentialResponse")
        .codec_path("tonic_prost::ProstCodec")
        .build();
    let echo =
        manual::Service::builder().package("countersign.v1").name("AuthService").method(validate).build();
    manual::Builder::new().build_client(false).compile(&[echo]);
    Ok(())
}
