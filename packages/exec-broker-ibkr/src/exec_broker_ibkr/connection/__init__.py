"""The line to TWS: a socket, the client library's codec, requests and their answers. `line` is its face."""
