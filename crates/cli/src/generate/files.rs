//! Files for systemd, compose, Prometheus and clients.

use super::Client;

/// A unit for systemd. The broker needs one directory and many open files, nothing else.
pub const SYSTEMD: &str = "\
[Unit]
Description=Duramen, a Kafka-compatible log
Documentation=man:duramen(1)
After=network-online.target
Wants=network-online.target

[Service]
# It says when it serves; reading a long log back takes as long as the disk takes.
Type=notify
NotifyAccess=main
TimeoutStartSec=infinity
ExecStart=/usr/bin/duramen server start --config /etc/duramen/duramen.toml --data-dir /var/lib/duramen
DynamicUser=yes
StateDirectory=duramen
StateDirectoryMode=0700
LimitNOFILE=1048576
Restart=on-failure
RestartSec=2
# A clean stop writes what is in memory; a broken disk must not keep the machine from going down.
KillSignal=SIGTERM
TimeoutStopSec=60

NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
LockPersonality=yes
SystemCallArchitectures=native
CapabilityBoundingSet=

[Install]
WantedBy=multi-user.target
";

/// One broker with monitoring beside it. The image is the one built from this repository.
pub const COMPOSE: &str = "\
# docker compose up -d
# Clients on this machine: localhost:9092. Clients in other containers: duramen:9092. One port serves
# both: each is told the address it can reach.
services:
  duramen:
    image: duramen
    hostname: duramen
    ports:
      - 127.0.0.1:9092:9092
      - 127.0.0.1:8080:8080
    volumes:
      - data:/var/lib/duramen
    ulimits:
      nofile: 1048576
    stop_grace_period: 1m
    restart: unless-stopped
    healthcheck:
      test: [CMD, duramen, cluster, health]
      interval: 5s
      timeout: 5s
      retries: 12

  # duramen generate prometheus duramen:8080 > prometheus.yml
  prometheus:
    image: prom/prometheus
    volumes:
      - ./prometheus.yml:/etc/prometheus/prometheus.yml:ro
    ports:
      - 127.0.0.1:9090:9090

  # duramen generate grafana > dashboard.json, then import it there.
  grafana:
    image: grafana/grafana
    ports:
      - 127.0.0.1:3000:3000

volumes:
  data:
";

/// A scrape configuration.
pub fn prometheus(targets: &[String]) -> String {
    let mut text = String::from(
        "global:\n  scrape_interval: 10s\n\nscrape_configs:\n  - job_name: duramen\n    \
         metrics_path: /metrics\n    static_configs:\n      - targets:\n",
    );
    for target in targets {
        text.push_str(&format!("          - {target:?}\n"));
    }
    text
}

/// The settings a client needs.
pub fn client_config(client: Client, brokers: &str) -> String {
    match client {
        Client::Java => format!("bootstrap.servers={brokers}\nsecurity.protocol=PLAINTEXT\n"),
        Client::Librdkafka => {
            format!("metadata.broker.list={brokers}\nsecurity.protocol=plaintext\n")
        }
        Client::Env => {
            format!("export DURAMEN_BROKERS={brokers}\nexport KAFKA_BOOTSTRAP_SERVERS={brokers}\n")
        }
    }
}
