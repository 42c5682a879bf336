"""How a parameter of each supported type lies in a vtkMRMLScriptedModuleNode, with its validators and
default.

Keys and texts as Slicer writes them (Base/Python/slicer/parameterNodeWrapper/serializers.py): numbers and
paths as
str(), bool as "True"/"False", Enum as its member's name, a node as a node reference beside an empty
parameter,
Optional[...] as "<name>.0" for a value and "<name>.1" for None.
"""

from __future__ import annotations

import dataclasses
import enum
import pathlib
import types
import typing
from typing import Any

import slicer
import slicer.util


@dataclasses.dataclass(frozen=True)
class Default:
    """Annotated[T, Default(value)]"""

    value: Any = None


@dataclasses.dataclass(frozen=True)
class WithinRange:
    minimum: float
    maximum: float

    def validate(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


@dataclasses.dataclass(frozen=True)
class Minimum:
    minimum: float

    def validate(self, value: Any) -> None:
        if value < self.minimum:
            raise ValueError(f"Value must be greater than {self.minimum}, is {value}")


@dataclasses.dataclass(frozen=True)
class Maximum:
    maximum: float

    def validate(self, value: Any) -> None:
        if value > self.maximum:
            raise ValueError(f"Value must be less than {self.maximum}, is {value}")


@dataclasses.dataclass(frozen=True)
class Choice:
    choices: typing.Sequence[Any]

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"Value is {value}, but must be in one of the following: {self.choices}")


@dataclasses.dataclass(frozen=True)
class Decimals:
    """Decimals of the connected widget."""

    value: int


@dataclasses.dataclass(frozen=True)
class SingleStep:
    """Step of the connected widget."""

    value: float


VALIDATORS = (WithinRange, Minimum, Maximum, Choice)
ANNOTATIONS = (*VALIDATORS, Default, Decimals, SingleStep)


class Parameter:
    """One declared parameter: reads, validates and writes it."""

    def __init__(self, name: str, declared: Any, equals_default: Any = ...) -> None:
        self.name = name
        self.declared = declared
        arguments = typing.get_args(typing.Annotated[declared, None])
        self.base, self.optional = _strip_optional(arguments[0])
        self.annotations = arguments[1:-1]
        self._check_declaration()
        defaults = [a.value for a in self.annotations if isinstance(a, Default)]
        self.default = (
            equals_default if equals_default is not ... else (defaults or [self._type_default()])[0]
        )

    @property
    def is_node(self) -> bool:
        return isinstance(self.base, type) and issubclass(self.base, slicer.vtkMRMLNode)

    @property
    def _key(self) -> str:
        """Where a value lies: the members of a union are numbered, as UnionSerializer does."""
        return f"{self.name}.0" if self.optional else self.name

    @property
    def _none_key(self) -> str:
        return f"{self.name}.1"

    def is_in(self, node: Any) -> bool:
        return bool(node.HasParameter(self._key) or (self.optional and node.HasParameter(self._none_key)))

    def read(self, node: Any) -> Any:
        if not self.is_in(node):
            self.write(node, self.default)
        if self.optional and node.HasParameter(self._none_key):
            return None
        if self.is_node:
            return node.GetNodeReference(self._key)
        text = node.GetParameter(self._key)
        if self.base is bool:
            return text == "True"
        return self.base[text] if issubclass(self.base, enum.Enum) else self.base(text)

    def write(self, node: Any, value: Any) -> None:
        self._validate(value)
        with slicer.util.NodeModify(node):
            if self.optional:
                node.UnsetParameter(self._key if value is None else self._none_key)
            if self.is_node:
                node.SetNodeReferenceID(self._key, value.GetID() if value is not None else None)
            if value is None and self.optional:
                node.SetParameter(self._none_key, "None")
            elif self.is_node:
                node.SetParameter(self._key, "")
            else:
                node.SetParameter(self._key, value.name if isinstance(value, enum.Enum) else str(value))

    def _check_declaration(self) -> None:
        is_type = isinstance(self.base, type)
        simple = self.base in (str, int, float, bool, pathlib.Path)
        if not (simple or self.is_node or (is_type and issubclass(self.base, enum.Enum))):
            raise TypeError(f"Parameter {self.name}: the stand-in does not support the type {self.declared}")
        for annotation in self.annotations:
            if not isinstance(annotation, ANNOTATIONS):
                raise TypeError(
                    f"Parameter {self.name}: the stand-in does not support the annotation {annotation}"
                )

    def _type_default(self) -> Any:
        if self.optional or self.is_node:
            return None
        return next(iter(self.base)) if issubclass(self.base, enum.Enum) else self.base()

    def _validate(self, value: Any) -> None:
        if value is None:
            if not (self.optional or self.is_node):
                raise ValueError(f"Parameter {self.name}: value must not be None")
            return
        accepted = (int, float) if self.base is float else self.base
        if not isinstance(value, accepted):
            raise TypeError(
                f"Parameter {self.name}: value must be of type {self.base}, is {type(value)} {value!r}"
            )
        for annotation in self.annotations:
            if isinstance(annotation, VALIDATORS):
                annotation.validate(value)


def _strip_optional(declared: Any) -> tuple[Any, bool]:
    """(T, True) for Optional[T], (T, False) for T; other unions are returned as they are, to be refused."""
    if typing.get_origin(declared) in (typing.Union, types.UnionType):
        members = [m for m in typing.get_args(declared) if m is not type(None)]
        if len(members) == 1 and len(typing.get_args(declared)) == 2:
            return members[0], True
    return declared, False
