"""How each server of a row is started."""

import json
import os
from contextlib import ExitStack
from pathlib import Path

from .build import Tools, need
from .data import NAME
from .process import Failed, Server, body_of, free_port
from .settings import OUT

NGINX = """\
daemon off;
{user}worker_processes auto;
pid {work}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    default_type application/octet-stream;
    # Files as fast as nginx can: no log, no copy, no open() after the first.
    sendfile on;
    tcp_nopush on;
    open_file_cache max=15000 inactive=600s;
    open_file_cache_valid 600s;
    keepalive_requests 1000000000;
    client_body_temp_path {work}/body;
    proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {root};
    }}
}}
"""

# Every miss of a row comes from one address: the limits on what a client may cost are for other days.
CONFIGURATION = """\
name = "{name}"
data = {data}
listen = "127.0.0.1:{port}"
metrics_listen = "127.0.0.1:{metrics}"
log_filter = "warn"

[limits]
client_misses_per_minute = 1000000
misses_per_minute = 10000000
concurrency = {concurrency}

[[route]]
modules = ["corp.example/*"]
source = [{source}]
checksum = "compute"
"""

# Every other module is public: its lines come from another checksum database, verified.
PUBLIC = """
[sumdb."{name}"]
key = "{key}"
urls = ["{url}"]

[[route]]
modules = ["*"]
source = ["http://127.0.0.1:9"]
checksum = "{name}"
"""

LOGS = OUT / "logs"


class Servers:
    """The servers of one row. Use it in a `with` block: all are ended with it."""

    def __init__(self, tools: Tools):
        self.tools = tools
        self.stack = ExitStack()

    def __enter__(self) -> "Servers":
        return self

    def __exit__(self, *failure) -> None:
        self.stack.__exit__(*failure)

    def start(self, name: str, command: list, port: int, ready: str = "/latest") -> Server:
        log = LOGS / f"{name.replace('/', '-')}.log"
        return self.stack.enter_context(Server(name, command, port, log, ready))

    def tallystick(self, data: Path, source: str = "http://127.0.0.1:9", name: str = "tallystick", concurrency: int = 64,
                   ready: str = "/latest", public: tuple[str, str] | None = None) -> Server:
        """`public`: the verifier key and the URL of a checksum database that public modules are looked up in."""
        port, metrics = free_port(), free_port()
        configuration = data.parent / f"{data.name}.toml"
        configuration.write_text(CONFIGURATION.format(
            name=NAME, data=json.dumps(str(data)), port=port, metrics=metrics, source=json.dumps(source), concurrency=concurrency))
        if public:
            key, url = public
            with configuration.open("a") as file:
                file.write(PUBLIC.format(name=key.partition("+")[0], key=key, url=url))
        server = self.start(name, [self.tools.tallystick, "serve", "--config", configuration], port, ready)
        server.metrics_port = metrics
        return server

    def mirror(self, configuration: Path, ready: str) -> Server:
        """A server with this configuration, on listeners of its own."""
        port, metrics = free_port(), free_port()
        command = [self.tools.tallystick, "serve", "--config", configuration, "--listen", f"127.0.0.1:{port}", "--metrics-listen", f"127.0.0.1:{metrics}"]
        return self.start("mirror", command, port, ready)

    def xmod(self, records: int, source: str | None = None) -> Server:
        port = free_port()
        command = [self.tools.peers / "testserver", "-n", records, "-addr", f"127.0.0.1:{port}"]
        return self.start("x/mod", command + (["-proxy", source] if source else []), port, "/count")

    def bare(self, size: int) -> Server:
        port = free_port()
        return self.start("bare axum", [self.tools.bare, f"127.0.0.1:{port}", size], port)

    def memproxy(self) -> Server:
        port = free_port()
        return self.start("memproxy", [self.tools.peers / "memproxy", "-addr", f"127.0.0.1:{port}"], port, "/count")

    def nginx(self, root: Path, ready: str) -> Server:
        nginx = need(self.tools.nginx, "nginx")
        port, work = free_port(), OUT / "nginx"
        work.mkdir(parents=True, exist_ok=True)
        user = "user root;\n" if os.geteuid() == 0 else ""
        configuration = work / "nginx.conf"
        configuration.write_text(NGINX.format(user=user, work=work, port=port, root=root))
        return self.start("nginx", [nginx, "-p", work, "-c", configuration, "-e", "stderr"], port, ready)


def requests_answered(server: Server) -> int:
    """How many requests for look-ups, tiles and heads a server has answered, by its own account."""
    if not hasattr(server, "metrics_port"):
        return int(body_of(server.port, "/count"))
    total = 0
    for line in body_of(server.metrics_port, "/metrics").decode().splitlines():
        if line.startswith("tallystick_http_requests_total{"):
            total += int(float(line.rsplit(" ", 1)[1]))
    if total == 0:
        raise Failed("/metrics counts no requests: has its name changed?")
    return total
