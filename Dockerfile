# syntax=docker/dockerfile:1
# The image: one static binary, and what it reads.
#
#   docker build --tag token-authority .
#   scripts/image                            the same with buildah, around a binary made here
#
# The base is an argument; name it by digest where builds have to repeat.
ARG RUST_IMAGE=docker.io/library/rust:1.95-bookworm

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY . .
RUN scripts/image-root /out

FROM scratch
LABEL org.opencontainers.image.title="token-authority" \
    org.opencontainers.image.description="Mints access tokens, keeps only their hashes, and answers for them over gRPC" \
    org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/root/ /
# A volume that is made from it belongs to the user.
COPY --from=build --chown=65532:65532 /out/data/ /var/lib/token-authority/
# By number, so that Kubernetes sees that it is not root.
USER 65532:65532
WORKDIR /var/lib/token-authority
ENV TOKEN_AUTHORITY__DATA_DIR=/var/lib/token-authority
VOLUME ["/var/lib/token-authority"]
EXPOSE 50051 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["/token-authority", "healthcheck"]
ENTRYPOINT ["/token-authority"]
CMD ["serve"]
