"""A model that is none, on loopback: answers every chat with "hello", in OpenAI's protocol. It takes
980 tokens each time, and 4,000 as "o3".

model.py PATH: writes where it listens to the file at PATH.
"""

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy/python"))
sys.dont_write_bytecode = True
from tests.upstream import Upstream  # noqa: E402

upstream = Upstream()
# A model that thinks long.
upstream.completion_tokens["o3"] = 3_100
Path(sys.argv[1]).write_text(upstream.url.removesuffix("/v1"))
signal.pause()
