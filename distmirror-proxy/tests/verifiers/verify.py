"""Shakes hands as Python does since 3.13. Each line of the input reads `CASE PORT CA HOST`; each of the output `CASE ok` or why not."""
import socket
import ssl
import sys

for line in sys.stdin:
    case, port, ca, host = line.split()
    context = ssl.create_default_context(cafile=ca)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        with socket.create_connection(("127.0.0.1", int(port))) as stream:
            target = f"[{host}]" if ":" in host else host
            stream.sendall(f"CONNECT {target}:443 HTTP/1.1\r\nHost: {target}:443\r\n\r\n".encode())
            answer = b""
            while not answer.endswith(b"\r\n\r\n"):
                answer += stream.recv(1)
            with context.wrap_socket(stream, server_hostname=host):
                print(case, "ok")
    except (OSError, ValueError) as error:
        print(case, repr(error))
