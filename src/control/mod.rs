//! HTTP on Unix sockets: commands on one, health and metrics on the other. The handlers that CLI and page share.
