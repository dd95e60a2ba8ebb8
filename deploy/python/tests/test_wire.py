from __future__ import annotations

import unittest

from llm_rate_limit_client._address import Address
from llm_rate_limit_client._wire import MAX_HEAD_BYTES, Request, ResponseParser
from llm_rate_limit_client.errors import ProtocolError

ANSWER = b'HTTP/1.1 429 Too Many Requests\r\nContent-Length: 17\r\nRetry-After:  7 \r\n\r\n{"allowed":false}'


class RequestTests(unittest.TestCase):
    def test_a_body_is_json_in_ascii_with_its_length(self) -> None:
        data = Request("POST", "/v1/check", {"user": "é\ud800"}).encode("localhost")
        head, _, body = data.partition(b"\r\n\r\n")
        self.assertEqual(body, b'{"user":"\\u00e9\\ud800"}')
        self.assertIn(b"Content-Length: %d" % len(body), head)
        self.assertIn(b"Host: localhost", head)


class ResponseTests(unittest.TestCase):
    def test_an_answer_in_whatever_parts_is_the_same(self) -> None:
        for cut in range(1, len(ANSWER)):
            parser = ResponseParser()
            first = parser.feed(ANSWER[:cut])
            self.assertIsNone(first, cut)
            response = parser.feed(ANSWER[cut:])
            assert response is not None
            self.assertEqual((response.status, response.headers["retry-after"]), (429, "7"))
            self.assertEqual(response.json(), {"allowed": False})

    def test_an_answer_without_a_body_ends_with_its_head(self) -> None:
        response = ResponseParser().feed(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert response is not None
        self.assertTrue(response.is_ok)

    def test_a_connection_that_ends_is_not_kept(self) -> None:
        for head in (b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n"):
            response = ResponseParser().feed(head + b"Content-Length: 0\r\n\r\n")
            assert response is not None
            self.assertFalse(response.keeps_alive)

    def test_what_is_no_answer_is_refused(self) -> None:
        for data in (
            b"SSH-2.0-OpenSSH\r\n\r\n",
            b"HTTP/1.1 abc\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            ANSWER + b"H",
            b"H" * (MAX_HEAD_BYTES + 1),
        ):
            with self.assertRaises(ProtocolError, msg=repr(data[:60])):
                ResponseParser().feed(data)

    def test_a_body_that_is_no_object_is_refused(self) -> None:
        for body in (b"[]", b"{", b"\xff\xff"):
            response = ResponseParser().feed(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            assert response is not None
            with self.assertRaises(ProtocolError):
                response.json()


class AddressTests(unittest.TestCase):
    def test_each_form_is_read(self) -> None:
        self.assertEqual(Address.parse("/run/a.sock").path, "/run/a.sock")
        self.assertEqual(Address.parse("unix:///run/a%20b.sock").path, "/run/a b.sock")
        self.assertEqual(Address.parse("http://127.0.0.1:8089").authority, "127.0.0.1:8089")
        self.assertEqual(Address.parse("http://[::1]:8089/").authority, "[::1]:8089")

    def test_other_texts_are_refused_with_what_is_accepted(self) -> None:
        for text in ("run/a.sock", "unix://host/path", "https://host", "http://", "http://host/path", "http://a:b@h"):
            with self.assertRaisesRegex(ValueError, "accepted are", msg=text):
                Address.parse(text)


if __name__ == "__main__":
    unittest.main()
