# The image of logux-proxy: one static program, certificate authorities and the list of what it
# was built from (/usr/share/sbom), nothing else.
#
#   make image                       builds it here, for this machine, with buildah
#   docker buildx build --platform linux/amd64,linux/arm64 --sbom=true --provenance=mode=max \
#     --build-arg VERSION=$(git describe --tags --always) --build-arg REVISION=$(git rev-parse HEAD) -t NAME --push .
#
# The stage that BINARY names makes /out: `build` compiles, `prebuilt` takes bin/image, where `make image` has compiled
# and which needs no other image.
ARG BINARY=build

FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS TARGETARCH VERSION
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags "-s -w -X main.release=$VERSION" -o /out/logux-proxy ./cmd/node
RUN mkdir -p /out/etc/ssl/certs && cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ \
 && mkdir -p /out/usr/share/sbom && go run ./.ci/sbom /out/logux-proxy "$VERSION" >/out/usr/share/sbom/logux-proxy.cdx.json \
 && echo 'logux:x:65532:65532::/:' >/out/etc/passwd && echo 'logux:x:65532:' >/out/etc/group && chmod -R a=rX /out

FROM scratch AS prebuilt
ARG TARGETARCH
COPY bin/image/$TARGETARCH/ /out/

FROM $BINARY AS made

FROM scratch
ARG VERSION REVISION CREATED SOURCE
LABEL org.opencontainers.image.title="logux-proxy" \
      org.opencontainers.image.description="A Logux proxy: it speaks WebSocket with Logux clients and HTTP with your back-end" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED" \
      org.opencontainers.image.source="$SOURCE"
COPY --from=made /out/ /
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
# In a container others come from outside, and the proxy must not take itself for a developer's.
ENV LOGUX_HOST=0.0.0.0 LOGUX_ENV=production
EXPOSE 31337
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 CMD ["/logux-proxy", "health"]
ENTRYPOINT ["/logux-proxy"]
