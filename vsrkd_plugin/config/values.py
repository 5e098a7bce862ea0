"""What the value of an option can be: types that say in one line, in words, what they expect."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AfterValidator, BeforeValidator, Field, GetCoreSchemaHandler, ValidationError, WrapValidator

from vsrkd_plugin.errors import one_of, unexpected

MOST = 10**12  # of any number: what is larger is a mistake, and no machine counts so far


@dataclass(frozen=True)
class Told:
    """Says what a value must be: in errors, and in the reference.

    Args:
        text: such as 'a number > 0'.
        holds: what must be so beyond the type.
    """

    text: str
    holds: Callable[[Any], bool] = lambda value: True

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> Any:
        return WrapValidator(self._check).__get_pydantic_core_schema__(source, handler)

    def _check(self, value: Any, validate: Callable[[Any], Any]) -> Any:
        if isinstance(value, int | float) and MOST < value < math.inf:
            raise unexpected(f'{self.text}, at most {MOST:,}', value)
        try:
            found = validate(value)
        except ValidationError as error:
            raise unexpected(self.text, value) from error
        if not self.holds(found):
            raise unexpected(self.text, value)
        return value if isinstance(value, int) else found  # 1 stays 1, where a float would do too


def expected(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """What a value of a type must be, in words; `metadata` as pydantic keeps it beside the annotation of a field."""
    told = [data.text for data in (*getattr(annotation, '__metadata__', ()), *metadata) if isinstance(data, Told)]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if told:
        return told[-1]
    if origin is Literal:
        return one_of(arguments)
    if origin in (Annotated, Union, UnionType):  # a union with None, which stands for leaving it out
        return expected(arguments[0])
    return 'a list of mappings with a type' if list in (annotation, origin) else 'a mapping'


def as_tuple(value: Any) -> tuple[Any, ...]:
    """One or a list of them as a tuple; None as an empty one."""
    return () if value is None else tuple(value) if isinstance(value, list) else (value,)


def _folder_name(name: Any) -> Any:
    """One folder below another, a visible one: runs and images must stay where they belong."""
    if isinstance(name, str) and (
        not name.isprintable()  # NUL is not, nor is what cannot be encoded
        or any(mark in name for mark in '/\\')
        or name.startswith('.')
        or not 0 < len(name.encode()) <= 200  # BasicSR adds to it, and file systems take 255
    ):
        raise unexpected('one folder name', name)
    return name


def _integral(value: Any) -> Any:
    """5e3 is as good as 5000: so BasicSR's own files write iterations."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _distinct(value: int | list[int]) -> bool:
    return isinstance(value, int) or len(set(value)) == len(value)


Bool = Annotated[bool, Field(strict=True), Told('true or false')]
Text = Annotated[str, Field(strict=True, min_length=1), Told('text')]
FolderName = Annotated[Text, AfterValidator(_folder_name)]
# The set for training may have a number for a name, such as 291.
SetName = Annotated[Text | Annotated[int, Field(strict=True)], Told('text'), AfterValidator(_folder_name)]
Names = Annotated[list[Text], Told('a list of texts')]
Roots = Annotated[Text | Annotated[list[Text], Field(min_length=1)], Told('a path, or a list of them')]

# BasicSR seeds NumPy with it and the process's number.
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**32 - 2**16), Told('a whole number from 0 to below 2**32 - 2**16')]
Whole0 = Annotated[int, Field(strict=True, ge=0), Told('a whole number >= 0')]
Whole = Annotated[int, Field(strict=True, ge=1), Told('a whole number > 0')]
Whole2 = Annotated[int, Field(strict=True, ge=2), Told('a whole number >= 2')]
Count = Annotated[int, Field(strict=True, ge=1), BeforeValidator(_integral), Told('a whole number > 0')]
Count0 = Annotated[int, Field(strict=True, ge=0), BeforeValidator(_integral), Told('a whole number >= 0')]
CountOrNone = Annotated[int, Field(strict=True, ge=-1), BeforeValidator(_integral), Told('a whole number >= -1')]
Counts = Annotated[list[Count], Field(min_length=1), Told('a list of whole numbers > 0')]
Counts0 = Annotated[
    list[Annotated[int, Field(strict=True, ge=0), BeforeValidator(_integral)]],
    Field(min_length=1),
    Told('a list of whole numbers >= 0'),
]
Scale = Annotated[
    Whole | Annotated[list[Whole], Field(min_length=1)],
    Told('a whole number > 0, or a list of distinct ones', _distinct),
]
Scales = Annotated[
    Whole2 | Annotated[list[Whole2], Field(min_length=1)],
    Told('a whole number >= 2, or a list of distinct ones', _distinct),
]

Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False), Told('a number > 0')]
NotNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False), Told('a number >= 0')]
Fraction = Annotated[float, Field(strict=True, ge=0, lt=1), Told('a number from 0 to below 1')]
Share = Annotated[float, Field(strict=True, ge=0, le=1), Told('a number from 0 to 1')]
Factors = Annotated[list[NotNegative], Field(min_length=1), Told('a list of numbers >= 0')]
Betas = Annotated[tuple[Fraction, Fraction], Told('two numbers from 0 to below 1')]


def _rises(pair: tuple[float, float]) -> bool:
    return pair[0] <= pair[1]


Speed = Annotated[tuple[Positive, Positive], Told('two numbers > 0, the lower first', _rises)]
Range = Annotated[tuple[NotNegative, NotNegative], Told('two numbers >= 0, the lower first', _rises)]
_Factor = Annotated[float, Field(strict=True, ge=0.1, le=10)]
FactorRange = Annotated[tuple[_Factor, _Factor], Told('two numbers from 0.1 to 10, the lower first', _rises)]
_Quality = Annotated[float, Field(strict=True, ge=1, le=99)]
QualityRange = Annotated[tuple[_Quality, _Quality], Told('two numbers from 1 to 99, the lower first', _rises)]
ValueRange = Annotated[
    tuple[
        Annotated[float, Field(strict=True, allow_inf_nan=False)],
        Annotated[float, Field(strict=True, allow_inf_nan=False)],
    ],
    Told('two numbers, the lower first', lambda values: values[0] < values[1]),
]
Channels = Annotated[Literal[1, 3], Told('1 or 3')]
GPUs = Annotated[Literal['auto'] | Whole0, Told("'auto' or a whole number >= 0")]
