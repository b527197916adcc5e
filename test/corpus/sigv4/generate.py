# Writes vectors.json: requests signed by botocore, for our signature to be held against. `pip install botocore`, then `python3 generate.py > vectors.json`.
import datetime, hashlib, json, random
from urllib.parse import quote
import botocore.auth
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

random.seed(20150830)
now = datetime.datetime(2026, 11, 20, 10, 0, 7, tzinfo=datetime.timezone.utc)


class Fixed(datetime.datetime):
    @classmethod
    def utcnow(cls):
        return now.replace(tzinfo=None)

    @classmethod
    def now(cls, tz=None):
        return now


botocore.auth.datetime.datetime = Fixed
if hasattr(botocore.auth, "get_current_datetime"):
    botocore.auth.get_current_datetime = lambda remove_tzinfo=True: now.replace(tzinfo=None) if remove_tzinfo else now

words = ["orders", "a b", "ü/ä", "x=y", "100%", "~t-._", "a+b", "(1)*'!", "日本", "", "key:1,2;3", "@$&"]
services = ["s3", "s3-object-lambda", "dynamodb", "execute-api", "bedrock", "es"]


def path(service):
    parts = [random.choice(words) for _ in range(random.randint(0, 4))]
    if not service.startswith("s3"):
        parts = [part for part in parts if part and "/" not in part]
    return "/" + "/".join(quote(part, safe="-._~/") for part in parts)


def query():
    names = ["prefix", "list-type", "X", "x", "a b", "ü", "acl", "b", "B1"]
    pairs = [(random.choice(names), random.choice(words)) for _ in range(random.randint(0, 5))]
    return "&".join(quote(n, safe="-._~") + "=" + quote(v, safe="-._~") for n, v in pairs)


def vector(index):
    service = services[index % len(services)]
    region = random.choice(["us-east-1", "eu-central-1", "ap-southeast-2"])
    token = random.choice([None, "FwoGZXIvYXdzEXAMPLE//token+=="])
    key_id, secret = "AKIDEXAMPLE%d" % index, "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY%d" % index
    host = random.choice(["bucket.s3.amazonaws.com", "localhost:8080", "x.execute-api.eu-central-1.amazonaws.com"])
    text = query()
    target = path(service) + ("?" + text if text else "")
    headers = {"host": host}
    if random.random() < 0.5:
        headers["content-type"] = random.choice(["application/json", "text/plain;  charset=utf-8"])
    if random.random() < 0.4:
        headers["x-amz-meta-note"] = "  two  spaces "
    if random.random() < 0.3:
        headers["content-md5"] = "1B2M2Y8AsgTpgAmY7PhCfg=="
    body = random.choice(["", "{}", "x" * 1000, "ü"]).encode()
    payload = random.choice([hashlib.sha256(body).hexdigest(), "UNSIGNED-PAYLOAD"])
    request = AWSRequest(
        method=random.choice(["GET", "PUT", "POST", "DELETE", "HEAD"]),
        url="https://" + host + target,
        headers={**headers, "X-Amz-Content-SHA256": payload},
    )
    auth = S3SigV4Auth if service.startswith("s3") else SigV4Auth
    # S3SigV4Auth computes the header itself, unless it is told what the payload is.
    signer = auth(Credentials(key_id, secret, token), service, region)
    signer.payload = lambda _request: payload
    signer.add_auth(request)
    return {
        "method": request.method,
        "target": target,
        "headers": [part for name, value in headers.items() for part in (name, value)],
        "payload": payload,
        "service": service,
        "region": region,
        "accessKeyId": key_id,
        "secretAccessKey": secret,
        "sessionToken": token,
        "authorization": request.headers["Authorization"],
    }


vectors = [json.dumps(vector(index), ensure_ascii=False) for index in range(72)]
print('{"date": "20261120T100007Z", "vectors": [\n' + ",\n".join(vectors) + "\n]}")
