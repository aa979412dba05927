"""The tenant over HTTP."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.domain.tenant import Tenant

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]


class TenantView(BaseModel):
    """The business a key belongs to, its clock, its currency, and how it is scored."""

    slug: str = Field(examples=["kidz"])
    name: str = Field(examples=["Kidz Jakarta"])
    timezone: str = Field(examples=["Asia/Jakarta"])
    currency: str = Field(examples=["IDR"])
    profile: dict[str, Any] = Field(examples=[{"preset": "retail", "windowDays": 180}])

    @classmethod
    def of(cls, tenant: Tenant) -> Self:
        """`tenant` as the API shows it."""
        return cls(
            slug=tenant.slug,
            name=tenant.name,
            timezone=tenant.timezone,
            currency=tenant.currency,
            profile=tenant.profile.document(),
        )


class TenantPatch(BaseModel):
    """What may change about a tenant; what is left out stays. The currency never changes."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"timezone": "Asia/Makassar", "profile": {"preset": "retail"}}
        },
    )

    name: Name | None = None
    timezone: Annotated[str, StringConstraints(max_length=100)] | None = None
    profile: dict[str, Any] | None = Field(
        default=None, description="The whole scoring profile; takes the place of the present one."
    )

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if all(getattr(self, name) is None for name in type(self).model_fields):
            raise ValueError("must give at least one of name, timezone, profile")
        return self
