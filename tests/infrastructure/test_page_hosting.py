"""The page on AWS: what template.yaml describes is what a laptop serves."""

import json
import os
import re
import subprocess
from typing import Any

import pytest

from local.page_files import NOT_FOR_SEARCH_ENGINES, SECURITY_HEADERS, SHARED, content_security_policy, served_path
from local.settings import PUBLISHABLE_KEY
from playground.http import MAPPED_PATH
from playground.usecases.stream_run import KEEP_ALIVE_SECONDS
from tests.conftest import ROOT
from tests.kit.template import template_source
from tools.web import find_node, packaged_node

SOURCE = template_source()
RESOURCES: dict[str, dict[str, Any]] = SOURCE["Resources"]
DISTRIBUTION = RESOURCES["PageDistribution"]["Properties"]["DistributionConfig"]
BEHAVIORS = {each["PathPattern"]: each for each in DISTRIBUTION["CacheBehaviors"]}
STRICT_TRANSPORT = "Strict-Transport-Security"  # a laptop has no HTTPS


def headers_of(policy: str, *, with_stripe: bool) -> dict[str, str]:
    """What a policy of the template adds to a response; every header replaces the origin's."""
    config = RESOURCES[policy]["Properties"]["ResponseHeadersPolicyConfig"]
    security, custom = config["SecurityHeadersConfig"], config["CustomHeadersConfig"]["Items"]
    assert set(security) == {
        "ContentSecurityPolicy",
        "ContentTypeOptions",
        "ReferrerPolicy",
        "StrictTransportSecurity",
    }
    assert all(each["Override"] is True for each in [*security.values(), *custom])
    condition, with_key, without = security["ContentSecurityPolicy"]["ContentSecurityPolicy"]["Fn::If"]
    assert condition == "HasStripeForm"
    return {
        "Content-Security-Policy": with_key if with_stripe else without,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": security["ReferrerPolicy"]["ReferrerPolicy"],
        STRICT_TRANSPORT: f"max-age={security['StrictTransportSecurity']['AccessControlMaxAgeSec']}",
        **{each["Header"]: each["Value"] for each in custom},
    }


@pytest.mark.parametrize("with_stripe", [True, False])
def test_the_headers_are_those_of_a_laptop(with_stripe: bool) -> None:
    wanted = {
        "Content-Security-Policy": content_security_policy(with_stripe=with_stripe),
        STRICT_TRANSPORT: "max-age=31536000",
        **SECURITY_HEADERS,
    }

    assert headers_of("PageHeaders", with_stripe=with_stripe) == wanted
    assert headers_of("SharedPageHeaders", with_stripe=with_stripe) == {**wanted, **dict([NOT_FOR_SEARCH_ENGINES])}


def test_every_path_of_the_page_has_its_headers_and_the_api_has_its_own() -> None:
    policies = {pattern: each.get("ResponseHeadersPolicyId") for pattern, each in BEHAVIORS.items()}

    assert policies == {
        "/api/*": None,
        "/assets/*": {"Ref": "PageHeaders"},
        f"{SHARED}*": {"Ref": "SharedPageHeaders"},
    }
    assert DISTRIBUTION["DefaultCacheBehavior"]["ResponseHeadersPolicyId"] == {"Ref": "PageHeaders"}


def test_an_error_is_passed_on_as_it_is() -> None:
    """Error pages of a distribution are for all of its origins: the API's 404 and 403 would be the page, with a 200."""
    assert "CustomErrorResponses" not in DISTRIBUTION


def test_the_api_gets_the_whole_request_and_none_of_its_answers_is_kept() -> None:
    api = BEHAVIORS["/api/*"]

    assert MAPPED_PATH.startswith("/api/")
    assert api["TargetOriginId"] == "api"
    assert api["CachePolicyId"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
    assert api["OriginRequestPolicyId"] == "b689b0a8-53d0-40ab-baf2-68738e2966ac"
    assert {"GET", "POST", "DELETE", "OPTIONS"} <= set(api["AllowedMethods"])
    assert "FunctionAssociations" not in api
    [origin] = [each for each in DISTRIBUTION["Origins"] if each["Id"] == "api"]
    assert "OriginPath" not in origin  # the stage is the beginning of the path
    assert origin["CustomOriginConfig"]["OriginProtocolPolicy"] == "https-only"


def test_a_silent_stream_outlives_the_wait_for_its_next_byte() -> None:
    [origin] = [each for each in DISTRIBUTION["Origins"] if each["Id"] == "api"]

    assert origin["CustomOriginConfig"]["OriginReadTimeout"] >= 5 * KEEP_ALIVE_SECONDS
    assert "ResponseCompletionTimeout" not in origin  # a stream takes as long as it takes


def test_only_the_distribution_reads_the_bucket() -> None:
    block = RESOURCES["PageBucket"]["Properties"]["PublicAccessBlockConfiguration"]
    assert set(block.values()) == {True}
    for statement in RESOURCES["PageBucketPolicy"]["Properties"]["PolicyDocument"]["Statement"]:
        if statement["Effect"] == "Allow":
            assert statement["Principal"] == {"Service": "cloudfront.amazonaws.com"}
            source = statement["Condition"]["StringEquals"]["aws:SourceArn"]["Fn::Sub"]
            assert source.endswith(":distribution/${PageDistribution}")


def test_all_of_it_is_there_only_if_it_is_wanted() -> None:
    parts = {name for name, each in RESOURCES.items() if name.startswith(("Page", "SharedPage"))}

    assert {name for name in parts if RESOURCES[name].get("Condition") == "HasPage"} == parts
    assert len(parts) == 7
    assert SOURCE["Parameters"]["Page"]["Default"] == "false"
    assert SOURCE["Conditions"]["HasPage"] == {"Fn::Equals": [{"Ref": "Page"}, "true"]}
    outputs = {name: each for name, each in SOURCE["Outputs"].items() if name.startswith("Page")}
    assert {each["Condition"] for each in outputs.values()} == {"HasPage"}


def test_visitors_who_cannot_be_told_apart_get_no_free_runs() -> None:
    rule = SOURCE["Rules"]["VisitorsHaveAddresses"]

    assert rule["RuleCondition"] == {"Fn::Equals": [{"Ref": "Page"}, "true"]}
    assert [each["Assert"] for each in rule["Assertions"]] == [{"Fn::Equals": [{"Ref": "AnonymousRuns"}, "false"]}]


def test_no_other_key_is_taken_for_a_publishable_one() -> None:
    pattern = SOURCE["Parameters"]["StripePublishableKey"]["AllowedPattern"]

    assert re.fullmatch(pattern, "")
    for key in ("pk_test_1", "pk_live_Ab1", "sk_live_1", "pk_test_", "pk_test_1 'unsafe-inline'"):
        assert bool(re.fullmatch(pattern, key)) == bool(re.fullmatch(PUBLISHABLE_KEY, key))


PATHS = (
    "/",
    "/index.html",
    "/config.json",
    "/favicon.svg",
    "/font.woff2",
    "/nothing",
    "/nothing/",
    "/playground/credits",
    "/playground/shared/eyJ0.a.b",
    "/packages/@acme/tidy/1.0.2",
    "/packages/@acme/tidy.md",
    "/.well-known/x.txt",
    "/.built",
    "/UPPER.TXT",
    "//x.txt",
    "/a.b.c",
    "/a.",
    "/a%2Fb.txt",
    "/a\nb.txt",
    "/b.txt\n",
)


def test_paths_are_rewritten_as_on_a_laptop() -> None:
    """By CloudFront's function itself, in a Node.js."""
    node = find_node(os.environ.get("PATH", "")) or packaged_node(ROOT)
    if node is None:
        pytest.skip("there is no Node.js: neither on PATH nor in .venv-node")
    code = RESOURCES["PagePaths"]["Properties"]["FunctionCode"]
    script = f"""{code}
        const paths = {json.dumps(PATHS)};
        console.log(JSON.stringify(paths.map((uri) => handler({{ request: {{ uri }} }}).uri)));
    """
    ended = subprocess.run(
        [str(node.folder / "node"), "-e", script], capture_output=True, text=True, timeout=60, check=True
    )

    assert json.loads(ended.stdout) == [served_path(path) for path in PATHS]
