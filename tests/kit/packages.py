"""A package that has been published."""

from datetime import UTC, datetime

from playground.domain.packages import PackageVersion, package_uuid


def a_package(name: str = "@acme/tidy", version: str = "1.0.0") -> PackageVersion:
    return PackageVersion(
        package_id=package_uuid(name) or "",
        name=name,
        version=version,
        description="Tidies up.",
        format="claude",
        subtype="skill",
        prompt="Tidy up.",
        files=("SKILL.md",),
        published_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
