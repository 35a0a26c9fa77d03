# Two images of one static binary, built from this checkout:
#
#   docker build -t duramen .                    with a shell, in the places where Kafka's image has things
#   docker build -t duramen:bare --target bare . the binary and nothing else
#
# The first takes the place of apache/kafka: the same KAFKA_* variables configure it, and what
# testcontainers' Kafka modules put into a container runs in it.

FROM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends musl-tools git && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN rustup target add "$(uname -m)-unknown-linux-musl" \
    && cargo xtask dist --out /dist \
    && mkdir -p /empty/var/lib/duramen

FROM scratch AS bare
COPY --from=build /dist/duramen /usr/bin/duramen
COPY --from=build --chown=1000:1000 /empty/var/lib/duramen /var/lib/duramen
ENV PATH=/usr/bin
USER 1000:1000
VOLUME /var/lib/duramen
EXPOSE 9092 8080
ENTRYPOINT ["/usr/bin/duramen"]
CMD ["server", "start", "--data-dir", "/var/lib/duramen", "--http", "0.0.0.0:8080"]

FROM debian:bookworm-slim
COPY --from=build /dist/duramen /usr/bin/duramen
COPY --chmod=755 crates/xtask/package/run /etc/kafka/docker/run
RUN useradd --uid 1000 --no-create-home --home-dir /var/lib/duramen appuser \
    && install -d -o appuser -g appuser /var/lib/duramen
USER appuser
VOLUME /var/lib/duramen
EXPOSE 9092 8080
CMD ["/etc/kafka/docker/run"]
