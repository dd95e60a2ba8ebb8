"""Has schemathesis ask a Unix socket: SCHEMATHESIS_HOOKS=unix_socket UNIX_SOCKET=<path>, --url http://unix.localhost."""

import os
import socket

import urllib3.util.connection as connection

ordinary = connection.create_connection


def create_connection(address, timeout=socket._GLOBAL_DEFAULT_TIMEOUT, *arguments, **named):
    if address[0] != "unix.localhost":
        return ordinary(address, timeout, *arguments, **named)
    connected = socket.socket(socket.AF_UNIX)
    if timeout is not socket._GLOBAL_DEFAULT_TIMEOUT:
        connected.settimeout(timeout)
    connected.connect(os.environ["UNIX_SOCKET"])
    return connected


connection.create_connection = create_connection
