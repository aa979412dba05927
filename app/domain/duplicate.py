"""What makes two customers look like one person, and how much each sign weighs."""

from enum import StrEnum


class DuplicateReason(StrEnum):
    """What two customers have in common."""

    PHONE = "phone"
    EMAIL = "email"
    NAME_AND_PHONE_ENDING = "name_and_phone_ending"
    NAME_AND_BIRTH_DATE = "name_and_birth_date"
    NAME_AND_CITY = "name_and_city"


#: Points of 100 that a reason adds to the score of a pair, which ends at 100. A telephone may be a
#: family's, and an e-mail address seldom is; a name alone is no reason.
WEIGHTS: dict[DuplicateReason, int] = {
    DuplicateReason.EMAIL: 70,
    DuplicateReason.PHONE: 60,
    DuplicateReason.NAME_AND_BIRTH_DATE: 50,
    DuplicateReason.NAME_AND_PHONE_ENDING: 40,
    DuplicateReason.NAME_AND_CITY: 20,
}
