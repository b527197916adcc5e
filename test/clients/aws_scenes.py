# botocore, unmodified, with placeholder keys: objects put, read and deleted, small and large, from bytes and from files that stream.
import io
import json
import sys

import botocore.session
from botocore.config import Config

endpoint, authority = sys.argv[1:3]
session = botocore.session.get_session()
session.set_credentials("held-by-chaperone", "held-by-chaperone", "held-by-chaperone")
client = session.create_client(
    "s3",
    region_name="us-east-1",
    endpoint_url=endpoint,
    verify=authority if endpoint.startswith("https:") else None,
    config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
)


class Stream(io.RawIOBase):
    """A body that is read in pieces."""

    def __init__(self, data):
        self.inner = io.BytesIO(data)

    def readable(self):
        return True

    def read(self, size=-1):
        return self.inner.read(size)

    def tell(self):
        return self.inner.tell()

    def seek(self, offset, whence=0):
        return self.inner.seek(offset, whence)


seen = []
for key, body in [
    ("small", b"hello"),
    ("a b/\u00e4+(1).txt", b"hello"),
    ("large", b"x" * 1_000_000),
    ("file", io.BytesIO(b"y" * 300_000)),
    ("stream", Stream(b"z" * 300_000)),
]:
    answer = client.put_object(Bucket="bucket", Key=key, Body=body, Metadata={"note": "a  b"})
    seen.append(answer["ResponseMetadata"]["HTTPStatusCode"])
seen.append(client.get_object(Bucket="bucket", Key="small")["Body"].read().decode())
seen.append(client.delete_object(Bucket="bucket", Key="small")["ResponseMetadata"]["HTTPStatusCode"])
print(json.dumps(seen))
