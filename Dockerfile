# syntax=docker/dockerfile:1
# The service in a container: `docker buildx build --platform linux/amd64,linux/arm64 -t countersign .`
#
# Each platform is built on itself, so that nothing is cross-compiled: give buildx a builder of each, or have patience with emulation.
# Builder and base are both of Debian 12, so that they have the same libc.

ARG RUST_VERSION=1.95
FROM rust:${RUST_VERSION}-slim-bookworm AS build
WORKDIR /src

# The dependencies, in a layer that lasts until Cargo.lock changes: a crate of the same name, with nothing in it.
COPY Cargo.toml Cargo.lock ./
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    mkdir src \
    && echo 'fn main() {}' > src/main.rs \
    && cp src/main.rs build.rs \
    && touch src/lib.rs \
    && cargo build --release --locked

# What the service is made of, and nothing else. `touch`, since cargo goes by times, and what was copied may be older than what it replaces.
COPY build.rs ./
COPY proto proto
COPY migrations migrations
COPY docs/openapi.json docs/openapi.json
COPY src src
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    touch build.rs src/lib.rs src/main.rs \
    && cargo build --release --locked \
    && mkdir -p /root-of-image/usr/local/bin /root-of-image/var/lib/countersign \
    && cp target/release/countersign /root-of-image/usr/local/bin/

FROM gcr.io/distroless/cc-debian12:nonroot

ARG VERSION=
ARG REVISION=
ARG CREATED=
LABEL org.opencontainers.image.title="Countersign" \
      org.opencontainers.image.description="A standalone authentication service: sign-in, sessions and API keys, validated over gRPC" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.documentation="https://github.com/countersign/countersign/blob/main/docs/kubernetes.md" \
      org.opencontainers.image.source="https://github.com/countersign/countersign" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"

COPY LICENSE-APACHE LICENSE-MIT licenses/ /usr/share/doc/countersign/
COPY docker/countersign.toml /etc/countersign/countersign.toml
COPY --from=build /root-of-image/usr/local/bin/countersign /usr/local/bin/countersign
COPY --from=build --chown=65532:65532 /root-of-image/var/lib/countersign /var/lib/countersign

# Numbers, since Kubernetes cannot tell by a name that it is not root.
USER 65532:65532
# Where countersign.toml is found. The database is elsewhere, by an absolute path.
WORKDIR /etc/countersign
# All that is written to; so the rest may be read-only (`docker run --read-only`).
VOLUME ["/var/lib/countersign"]
# Temporary files of SQLite, too, which would look for /tmp.
ENV SQLITE_TMPDIR=/var/lib/countersign
EXPOSE 50051 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --start-interval=1s --retries=3 \
    CMD ["/usr/local/bin/countersign", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/countersign"]
CMD ["serve"]
