"""Predictions of lifetime value over HTTP."""

from datetime import datetime
from decimal import Decimal
from typing import Any, Self

from pydantic import Field

from app.api.schemas.figures import amount
from app.api.schemas.profile import View
from app.domain.ltv import GrowthPotential, growth
from app.domain.money import from_minor
from app.domain.privacy import Disclosure
from app.repositories.prediction import Prediction

EXAMPLE: dict[str, Any] = {
    "customerId": "cus-0001",
    "currentLtv": "1250.00",
    "predictedLtv1Year": "1850.00",
    "predictedLtv3Year": "3100.00",
    "churnProbability": 0.15,
    "confidenceScore": 0.87,
    "predictionDate": "2026-03-01T00:00:00Z",
    "modelVersion": "ltv-2026-03",
}


class LtvPredictionView(View):
    """What a customer was predicted to be worth, beside what they have brought by now."""

    customer_id: str
    name: str | None
    current_ltv: Decimal = Field(description="As the prediction had it.")
    predicted_ltv_1_year: Decimal = Field(alias="predictedLtv1Year")
    predicted_ltv_3_year: Decimal | None = Field(alias="predictedLtv3Year")
    predicted_ltv_5_year: Decimal | None = Field(alias="predictedLtv5Year")
    actual_ltv: Decimal = Field(description="Net revenue of all time, as of `asOf`.")
    since_prediction: Decimal = Field(
        description="What the customer has brought since: `actualLtv` less `currentLtv`."
    )
    expected_growth: float | None = Field(
        description="Within a year, as a share of `currentLtv`; null where that is nothing."
    )
    churn_probability: float
    growth_potential: GrowthPotential
    confidence_score: float | None
    prediction_date: datetime
    model_version: str | None
    currency: str
    as_of: datetime | None

    @classmethod
    def of(cls, found: Prediction, currency: str, disclosure: Disclosure) -> Self:
        """`found` in decimals."""
        return cls(
            customer_id=disclosure.id(found.customer_id),
            name=disclosure.personal(found.name),
            current_ltv=from_minor(found.current_ltv, currency),
            predicted_ltv_1_year=from_minor(found.predicted_1_year, currency),
            predicted_ltv_3_year=amount(found.predicted_3_year, currency),
            predicted_ltv_5_year=amount(found.predicted_5_year, currency),
            actual_ltv=from_minor(found.revenue, currency),
            since_prediction=from_minor(found.revenue - found.current_ltv, currency),
            expected_growth=growth(found.current_ltv, found.predicted_1_year),
            churn_probability=found.churn_probability,
            growth_potential=found.growth_potential,
            confidence_score=found.confidence,
            prediction_date=found.predicted_at,
            model_version=found.model_version,
            currency=currency,
            as_of=found.as_of,
        )
