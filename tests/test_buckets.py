"""URLs become the right place to ask, and a store that fails is one sentence."""

import pytest
import tensorstore as ts

from dit_jax import buckets
from dit_jax.errors import StorageError, UserError


@pytest.mark.parametrize(
    "url",
    ["gs://clips/a/c.json", "s3://clips/a b#?.json", "gs://clips", "s3://clips"],
)
def test_tensorstore_reads_a_url_as_we_do(url, monkeypatch):
    """Its own parser is the oracle; it escapes what JSON need not."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    spec = ts.KvStore.Spec(buckets.kvstore_spec(url))
    escaped = url.replace(" ", "%20").replace("#", "%23").replace("?", "%3F")
    assert spec.url.rstrip("/") == escaped
    wanted = ts.KvStore.Spec(escaped).to_json()
    assert spec.to_json() == wanted


def test_a_path_is_itself(tmp_path):
    spec = ts.KvStore.Spec(buckets.kvstore_spec(f"{tmp_path}/x"))
    assert spec.url == f"file://{tmp_path}/x"


@pytest.mark.parametrize(
    "name, is_bucket",
    [
        ("s3://b/x", True),
        ("gs://b", True),
        ("hf://b/x", False),
        ("s3", False),
        ("/gs", False),
    ],
)
def test_only_buckets_are_buckets(name, is_bucket):
    assert buckets.is_bucket(name) is is_bucket


def test_another_server_than_amazons_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://a:1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "mars-1")
    spec = buckets.kvstore_spec("s3://b/x")
    assert (spec["endpoint"], spec["aws_region"]) == ("http://a:1", "mars-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://b:2")
    monkeypatch.setenv("AWS_REGION", "mars-2")
    spec = buckets.kvstore_spec("s3://b/x")
    assert (spec["endpoint"], spec["aws_region"]) == ("http://b:2", "mars-2")


def test_a_url_without_a_bucket_is_one_sentence():
    with pytest.raises(UserError, match="names no bucket; write gs://BUCKET/NAME"):
        buckets.kvstore_spec("gs:///x")


def test_a_failure_keeps_the_reason_and_leaves_out_the_request():
    error = ValueError("PERMISSION_DENIED: AccessDenied: no [http_response_code='403']")
    found = buckets.failure(error, "read", "s3://b/x")
    assert isinstance(found, StorageError)
    assert str(found) == (
        "cannot read 's3://b/x' (AccessDenied: no); check the credentials and what "
        "they may do"
    )
