"""What people wear: random outfits, colours and hair that go together."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .hair import HairStyle, Hat
from .looks import Colour, Details, Look, Pattern, fabric, plain, strands
from .poses import choose
from .shells import Cut, Fit
from .shoes import Shoe, shoe_look
from .skin import Face, eye_look, skin_look
from .skirts import Skirt

_SKINS = (
    (0.95, 0.79, 0.70),
    (0.92, 0.74, 0.62),
    (0.86, 0.66, 0.53),
    (0.76, 0.56, 0.42),
    (0.62, 0.43, 0.31),
    (0.47, 0.31, 0.22),
    (0.35, 0.23, 0.17),
    (0.26, 0.17, 0.13),
)
_HAIR_COLOURS = (
    (4, (0.07, 0.055, 0.05)),
    (4, (0.14, 0.09, 0.065)),
    (3, (0.27, 0.17, 0.10)),
    (2, (0.43, 0.29, 0.17)),
    (2, (0.68, 0.53, 0.33)),
    (1, (0.82, 0.71, 0.50)),
    (1, (0.47, 0.19, 0.09)),
    (1, (0.36, 0.13, 0.08)),
)
_NEUTRALS = (
    (0.08, 0.08, 0.09),
    (0.16, 0.17, 0.19),
    (0.30, 0.31, 0.33),
    (0.52, 0.53, 0.54),
    (0.78, 0.77, 0.75),
    (0.93, 0.92, 0.90),
    (0.80, 0.73, 0.60),
    (0.60, 0.50, 0.38),
    (0.38, 0.28, 0.20),
    (0.12, 0.16, 0.28),
    (0.20, 0.26, 0.38),
    (0.33, 0.36, 0.26),
)
_DENIM = (
    ((0.17, 0.23, 0.36), (0.36, 0.45, 0.58)),
    ((0.30, 0.40, 0.54), (0.58, 0.67, 0.77)),
    ((0.10, 0.11, 0.14), (0.25, 0.26, 0.29)),
    ((0.46, 0.56, 0.67), (0.75, 0.81, 0.86)),
)
_LEATHER = ((0.09, 0.07, 0.06), (0.25, 0.15, 0.09), (0.42, 0.26, 0.15), (0.12, 0.10, 0.12), (0.55, 0.40, 0.26))


@dataclass(frozen=True)
class Garment:
    """A shell: its cut, fit and look."""

    cut: Cut
    fit: Fit
    look: Look


@dataclass(frozen=True)
class Outfit:
    """All that is worn and grown.

    Attributes:
        shells: from the innermost outwards.
        skirts: tubes with their looks.
        shoes: with look; None is barefoot.
        hair, beard, hat: with looks.
        skin, eyes: looks.
        bag: kind (none, backpack, shoulder, hand), look.
        bulk: metres of clothes on the trunk.
        words: what it is, for people.
    """

    shells: tuple[Garment, ...]
    skirts: tuple[tuple[Skirt, Look], ...]
    shoes: tuple[Shoe, Look] | None
    hair: tuple[HairStyle, Look]
    beard: tuple[float, Look] | None
    hat: tuple[Hat, Look] | None
    skin: Look
    eyes: Look
    bag: tuple[str, Look] | None
    bulk: float
    words: dict[str, str] = field(default_factory=dict)


class _Dresser:
    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def pick(self, options: tuple) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def colour(self, bright: float = 0.5) -> Colour:
        """A colour that clothes have; ``bright`` is the chance of a saturated one."""
        if not self.chance(bright):
            base = np.array(self.pick(_NEUTRALS))
            return tuple((base + self.rng.normal(size=3) * 0.02).clip(0.04, 0.96))
        hue = self.between(0, 1)
        return colorsys.hsv_to_rgb(hue, self.between(0.35, 0.9), self.between(0.22, 0.88))

    def near(self, colour: Colour, shift: float = 0.2) -> Colour:
        """A lighter or darker relative of ``colour``."""
        hue, saturation, value = colorsys.rgb_to_hsv(*colour)
        value = value + (shift if value < 0.5 else -shift)
        return colorsys.hsv_to_rgb((hue + self.between(-0.04, 0.04)) % 1, saturation, float(np.clip(value, 0.03, 0.97)))

    def contrast(self, colour: Colour) -> Colour:
        """A colour that stands out from ``colour``."""
        for _ in range(8):
            other = self.colour(0.55)
            if sum(abs(a - b) for a, b in zip(colour, other)) > 0.7:
                return other
        return (0.95, 0.95, 0.93) if sum(colour) < 1.5 else (0.08, 0.08, 0.1)

    def pattern(self, weights: dict[str, float], bright: float = 0.5) -> Pattern:
        kind = choose(self.rng, weights)
        first = self.colour(bright)
        second = self.contrast(first) if kind in ("stripes", "dots", "florals", "verticals") else self.near(first, 0.25)
        colours: tuple[Colour, ...] = (first, second)
        size = self.between(0.02, 0.06)
        if kind == "checks":
            colours, size = (first, self.near(first, 0.3), self.contrast(first)), self.between(0.05, 0.11)
        elif kind == "gingham":
            colours, size = ((0.93, 0.92, 0.90), first), self.between(0.012, 0.04)
        elif kind == "florals":
            colours, size = (first, second, self.colour(0.9)), self.between(0.045, 0.11)
        elif kind == "dots":
            size = self.between(0.022, 0.06)
        elif kind == "camouflage":
            green = self.pick(
                (
                    ((0.33, 0.34, 0.22), (0.20, 0.22, 0.13), (0.50, 0.45, 0.31), (0.09, 0.09, 0.07)),
                    ((0.70, 0.62, 0.47), (0.52, 0.43, 0.30), (0.82, 0.76, 0.62), (0.36, 0.29, 0.20)),
                    ((0.55, 0.57, 0.58), (0.32, 0.34, 0.36), (0.75, 0.76, 0.77), (0.14, 0.15, 0.16)),
                )
            )
            colours = green
        elif kind == "denim":
            colours = self.pick(_DENIM)
        elif kind == "verticals":
            size = self.between(0.008, 0.035)
        elif kind == "stripes":
            size = self.between(0.018, 0.10)
        elif kind == "knit":
            size = self.between(0.010, 0.02)
        return Pattern(kind, colours, size, self.between(0, 50))

    def print_(self, base: Colour) -> dict[str, object]:
        kind = self.pick(("disc", "box", "star", "letters", "letters", "number", "bars", "mountains"))
        first = self.contrast(base)
        return {"print_": kind, "print_colours": (first, self.colour(0.8)), "seed": int(self.rng.integers(1000))}

    # Garments ------------------------------------------------------------------------------------------------------

    def trousers(self) -> tuple[Garment, str]:
        kind = choose(
            self.rng, {"jeans": 4, "chinos": 3, "cargo": 1, "sweat": 1.6, "wide": 1.5, "leggings": 1, "shorts": 1.8}
        )
        waist = self.between(0.05, 0.10)
        bottom = self.between(-0.89, -0.84)
        folds = self.between(0.0025, 0.005)
        hem = {"hem_width": 0.018}
        if kind == "jeans":
            fit = Fit(0.006, 0.004, self.between(0.006, 0.024), flare=self.between(0.0, 0.03), folds=folds, smooth=10)
            look = fabric(self.pattern({"denim": 1}), Details(pockets="hips", fly=True, seams=0.9, **hem))
        elif kind == "chinos":
            fit = Fit(
                0.006, 0.005, self.between(0.010, 0.024), flare=self.between(0.005, 0.025), folds=folds, smooth=10
            )
            look = fabric(
                self.pattern({"solid": 5, "heather": 1, "checks": 0.5}, 0.25),
                Details(
                    pockets="hips",
                    fly=True,
                    seams=0.6,
                    belt=self.pick(_LEATHER) if self.chance(0.5) else None,
                    belt_at=waist - 0.012,
                    **hem,
                ),
            )
        elif kind == "cargo":
            fit = Fit(0.007, 0.008, self.between(0.018, 0.03), flare=0.01, folds=folds * 1.3)
            look = fabric(
                self.pattern({"solid": 2, "camouflage": 1}, 0.2), Details(pockets="cargo", fly=True, seams=0.8, **hem)
            )
        elif kind == "sweat":
            fit = Fit(0.007, 0.008, self.between(0.012, 0.025), flare=-0.012, folds=folds * 1.2)
            look = fabric(
                self.pattern({"solid": 2, "heather": 1}, 0.3),
                Details(
                    hem=self.colour(0.1) if self.chance(0.3) else None,
                    hem_width=0.04,
                    side_stripe=self.colour(0.3) if self.chance(0.4) else None,
                    seams=0.4,
                ),
            )
        elif kind == "wide":
            fit = Fit(0.006, 0.006, self.between(0.02, 0.035), flare=self.between(0.03, 0.075), folds=folds * 1.2)
            look = fabric(
                self.pattern({"solid": 4, "verticals": 1, "checks": 1, "denim": 1}, 0.35),
                Details(seams=0.5, pockets="hips", **hem),
            )
        elif kind == "leggings":
            fit = Fit(0.003, 0.001, 0.0015, smooth=2, folds=0.0012)
            look = fabric(
                self.pattern({"solid": 3, "heather": 1, "camouflage": 0.3}, 0.3),
                Details(seams=0.2, side_stripe=self.colour(0.7) if self.chance(0.3) else None),
                gloss=0.08,
            )
        else:
            bottom = self.between(-0.50, -0.27)
            fit = Fit(0.006, 0.006, self.between(0.012, 0.03), flare=self.between(0.0, 0.03), folds=folds)
            look = fabric(
                self.pattern({"solid": 4, "denim": 2, "checks": 1, "camouflage": 0.6, "florals": 0.3}, 0.5),
                Details(
                    pockets="hips",
                    fly=self.chance(0.6),
                    seams=0.6,
                    side_stripe=self.colour(0.4) if self.chance(0.25) else None,
                    **hem,
                ),
            )
        if kind not in ("shorts",) and self.chance(0.15):
            bottom = self.between(-0.80, -0.70)
        return Garment(Cut(bottom=bottom, top=waist, neck=9.0), fit, look), kind

    def top(self, kind: str, tucked: bool, under: bool) -> Garment:
        sleeve_short, sleeve_long = self.between(0.29, 0.40), self.between(0.62, 0.665)
        bottom = self.between(0.0, 0.03) if tucked else self.between(-0.10, 0.0)
        thickness = 0.004 if tucked or under else 0.010
        loose = 1.0 if not under else 0.4
        if kind == "tshirt":
            pattern = self.pattern(
                {
                    "solid": 6,
                    "stripes": 2,
                    "heather": 1.5,
                    "dots": 0.5,
                    "camouflage": 0.4,
                    "florals": 0.5,
                    "checks": 0.3,
                },
                0.6,
            )
            extra: dict = (
                self.print_(pattern.colours[0]) if pattern.kind in ("solid", "heather") and self.chance(0.55) else {}
            )
            if not extra and pattern.kind == "solid":
                if self.chance(0.25):
                    extra["yoke"] = self.contrast(pattern.colours[0])
                elif self.chance(0.25):
                    extra["block"], extra["block_above"] = self.contrast(pattern.colours[0]), self.between(0.1, 0.28)
                elif self.chance(0.3):
                    extra["logo"] = self.contrast(pattern.colours[0])
            hem = self.contrast(pattern.colours[0]) if self.chance(0.15) else None
            cut = Cut(
                sleeve_short,
                bottom,
                neck=self.between(0.450, 0.475),
                neck_front=self.between(0.035, 0.065),
                vee=self.between(0.04, 0.09) if self.chance(0.2) else 0.0,
            )
            fit = Fit(
                thickness,
                loose * self.between(0.008, 0.03),
                loose * self.between(0.008, 0.022),
                flare=loose * self.between(0, 0.012),
                cuff=0.006,
                folds=self.between(0.002, 0.0045),
            )
            return Garment(cut, fit, fabric(pattern, Details(hem=hem, hem_width=0.014, seams=0.5, **extra)))
        if kind == "tank":
            pattern = self.pattern({"solid": 4, "stripes": 1, "heather": 1, "florals": 0.5}, 0.7)
            extra = self.print_(pattern.colours[0]) if self.chance(0.4) else {}
            cut = Cut(0.0, bottom, neck=0.43, neck_front=0.07, straps=self.between(0.022, 0.045))
            return Garment(
                cut,
                Fit(thickness, 0.008, 0.0, smooth=4, folds=0.002),
                fabric(pattern, Details(hem_width=0.012, seams=0.3, **extra)),
            )
        if kind == "shirt":
            pattern = self.pattern(
                {"solid": 4, "checks": 2.5, "gingham": 1, "verticals": 1.5, "florals": 0.7, "dots": 0.4}, 0.45
            )
            rolled = self.chance(0.3)
            short = self.chance(0.25)
            sleeve = sleeve_short if short else self.between(0.45, 0.55) if rolled else sleeve_long
            cut = Cut(sleeve, bottom, neck=self.between(0.468, 0.485), neck_front=0.055, vee=self.between(0.02, 0.06))
            fit = Fit(
                thickness,
                loose * self.between(0.008, 0.026),
                loose * self.between(0.008, 0.018),
                flare=0.004,
                cuff=0.004,
                folds=self.between(0.003, 0.005),
                collar=0.009,
            )
            tie = self.colour(0.7) if under and self.chance(0.5) else None
            details = Details(
                buttons=self.contrast(pattern.colours[0]) if self.chance(0.4) else (0.9, 0.9, 0.88),
                tie=tie,
                pockets="chest" if self.chance(0.4) else "none",
                hem_width=0.022,
                seams=0.6,
            )
            return Garment(cut, fit, fabric(pattern, details))
        if kind == "sweater":
            pattern = self.pattern({"knit": 4, "stripes": 1.5, "heather": 1.5, "solid": 1, "checks": 0.3}, 0.55)
            high = self.chance(0.25)
            cut = Cut(
                sleeve_long,
                self.between(-0.07, 0.0),
                neck=0.515 if high else self.between(0.455, 0.47),
                neck_front=0.02 if high else 0.045,
                vee=0.0 if high or self.chance(0.7) else 0.08,
            )
            fit = Fit(
                0.012,
                self.between(0.012, 0.03),
                self.between(0.012, 0.024),
                cuff=-0.006,
                folds=self.between(0.003, 0.005),
                smooth=9,
                collar=0.006,
            )
            hem = self.near(pattern.colours[0], 0.08) if self.chance(0.7) else self.contrast(pattern.colours[0])
            return Garment(cut, fit, fabric(pattern, Details(hem=hem, hem_width=0.035, seams=0.3)))
        if kind == "hoodie":
            pattern = self.pattern({"solid": 4, "heather": 2, "camouflage": 0.5}, 0.5)
            extra = self.print_(pattern.colours[0]) if self.chance(0.4) else {}
            zipped = self.chance(0.35)
            cut = Cut(sleeve_long, self.between(-0.08, -0.02), neck=0.475, neck_front=0.05)
            fit = Fit(
                0.014,
                self.between(0.018, 0.036),
                self.between(0.016, 0.028),
                cuff=-0.008,
                folds=self.between(0.004, 0.006),
                smooth=9,
                collar=0.012,
                hood=self.between(0.03, 0.05),
            )
            details = Details(
                pockets="kangaroo",
                hem=self.near(pattern.colours[0], 0.06),
                hem_width=0.045,
                seams=0.5,
                zip=(0.7, 0.7, 0.7) if zipped else None,
                **({} if zipped else extra),
            )
            return Garment(cut, fit, fabric(pattern, details))
        raise ValueError(kind)

    def jacket(self, kind: str, opened: bool) -> Garment:
        opening = self.between(0.03, 0.075) if opened else 0.0
        sleeve = self.between(0.64, 0.67)
        if kind == "suit":
            pattern = self.pattern({"solid": 4, "verticals": 0.6, "checks": 0.6, "heather": 1}, 0.12)
            opening = self.between(0.035, 0.06)
            cut = Cut(sleeve - 0.01, self.between(-0.12, -0.08), neck=0.468, neck_front=0.03, opening=opening)
            fit = Fit(
                0.016,
                self.between(0.008, 0.018),
                self.between(0.008, 0.016),
                flare=0.006,
                folds=0.0025,
                smooth=10,
                collar=0.006,
            )
            return Garment(
                cut,
                fit,
                fabric(pattern, Details(lapel=opening, pockets="jacket" if self.chance(0.7) else "none", seams=0.6)),
            )
        if kind == "puffer":
            pattern = Pattern("solid", (self.colour(0.6),), 0.05, self.between(0, 50))
            cut = Cut(sleeve, self.between(-0.08, 0.0), neck=0.49, neck_front=0.03, opening=opening)
            fit = Fit(
                0.022,
                self.between(0.015, 0.03),
                self.between(0.018, 0.028),
                cuff=-0.01,
                folds=0.004,
                smooth=8,
                collar=0.012,
            )
            return Garment(
                cut,
                fit,
                fabric(
                    pattern, Details(zip=None if opened else (0.2, 0.2, 0.2), hem_width=0.03, seams=0.6), gloss=0.12
                ),
            )
        leather = kind == "leather"
        pattern = (
            Pattern("solid", (self.pick(_LEATHER),), 0.05, self.between(0, 50))
            if leather
            else self.pattern({"solid": 3, "denim": 2, "checks": 0.8, "camouflage": 0.5}, 0.4)
        )
        cut = Cut(sleeve, self.between(-0.10, 0.02), neck=0.475, neck_front=0.035, opening=opening)
        fit = Fit(
            0.015,
            self.between(0.010, 0.024),
            self.between(0.010, 0.02),
            cuff=0.0,
            folds=self.between(0.003, 0.005),
            smooth=8,
            collar=0.011,
        )
        details = Details(
            zip=None if opened else (0.65, 0.63, 0.6),
            pockets="jacket",
            hem_width=0.035,
            seams=0.9,
            hem=self.near(pattern.colours[0], 0.08) if self.chance(0.5) else None,
            yoke=self.contrast(pattern.colours[0]) if self.chance(0.12) else None,
        )
        return Garment(cut, fit, fabric(pattern, details, gloss=0.22 if leather else 0.03))

    def coat(self) -> tuple[Garment, tuple[Skirt, Look]]:
        opened = self.chance(0.55)
        pattern = self.pattern({"solid": 5, "heather": 2, "checks": 1}, 0.3)
        opening = self.between(0.03, 0.06) if opened else 0.0
        details = Details(
            lapel=0.03 if not opened else opening,
            buttons=None if opened else self.near(pattern.colours[0], 0.3),
            belt=self.near(pattern.colours[0], 0.12) if self.chance(0.3) else None,
            pockets="jacket",
            seams=0.6,
        )
        look = fabric(pattern, details)
        cut = Cut(self.between(0.64, 0.67), 0.0, neck=0.475, neck_front=0.03, opening=opening)
        fit = Fit(
            0.018,
            self.between(0.012, 0.022),
            self.between(0.012, 0.022),
            flare=0.004,
            cuff=0.004,
            folds=0.0035,
            smooth=10,
            collar=0.012,
        )
        tail = Skirt(
            top=0.075,
            hem=self.between(-0.62, -0.28),
            ease=0.03,
            flare=self.between(0.03, 0.07),
            pleats=int(self.rng.integers(4, 8)),
            depth=0.008,
            gap=self.between(0.12, 0.45) if opened else 0.015,
        )
        return Garment(cut, fit, look), (tail, look)

    def skirt(self, ease: float = 0.012) -> tuple[Skirt, Look]:
        kind = choose(self.rng, {"short": 2, "knee": 2, "long": 2, "pencil": 1, "pleated": 1})
        hem = {
            "short": self.between(-0.34, -0.22),
            "knee": self.between(-0.52, -0.40),
            "long": self.between(-0.86, -0.66),
        }.get(kind, self.between(-0.50, -0.3))
        pleats = int(self.rng.integers(18, 26)) if kind == "pleated" else int(self.rng.integers(6, 12))
        flare = 0.004 if kind == "pencil" else self.between(0.03, 0.12)
        depth = 0.002 if kind == "pencil" else self.between(0.008, 0.02)
        pattern = self.pattern(
            {"solid": 5, "florals": 1.5, "checks": 1, "dots": 1, "denim": 0.8, "stripes": 0.5, "gingham": 0.3}, 0.55
        )
        skirt = Skirt(top=self.between(0.08, 0.11), hem=hem, ease=ease, flare=flare, pleats=pleats, depth=depth)
        return skirt, fabric(pattern, Details(hem_width=0.02, seams=0.3))

    def dress(self) -> tuple[Garment, tuple[Skirt, Look]]:
        pattern = self.pattern(
            {"solid": 4, "florals": 3, "dots": 1, "stripes": 0.8, "checks": 0.5, "verticals": 0.4}, 0.7
        )
        belt = self.near(pattern.colours[0], 0.3) if self.chance(0.3) else None
        look = fabric(pattern, Details(belt=belt, belt_at=0.10, seams=0.2, hem_width=0.015))
        sleeve = choose(self.rng, {"none": 2, "short": 2, "long": 1.3})
        cut = Cut(
            {"none": 0.0, "short": self.between(0.25, 0.38), "long": self.between(0.58, 0.66)}[sleeve],
            0.03,
            neck=self.between(0.43, 0.46),
            neck_front=self.between(0.05, 0.10),
            vee=self.between(0.03, 0.1) if self.chance(0.35) else 0.0,
            straps=self.between(0.03, 0.05) if sleeve == "none" else 0.0,
        )
        fit = Fit(
            0.006,
            self.between(0.003, 0.010),
            self.between(0.004, 0.018),
            cuff=self.between(0, 0.02),
            folds=0.0025,
            smooth=5,
        )
        kind = choose(self.rng, {"short": 1.5, "knee": 2, "long": 2})
        hem = {
            "short": self.between(-0.36, -0.24),
            "knee": self.between(-0.55, -0.38),
            "long": self.between(-0.86, -0.65),
        }[kind]
        skirt = Skirt(
            top=0.10,
            hem=hem,
            ease=0.013,
            flare=self.between(0.02, 0.13),
            pleats=int(self.rng.integers(6, 14)),
            depth=self.between(0.006, 0.02),
        )
        return Garment(cut, fit, look), (skirt, look)

    def shoes(self, smart: bool, barefoot: float) -> tuple[Shoe, Look] | None:
        if self.chance(barefoot):
            return None
        kind = choose(self.rng, {"sneaker": 0.6 if smart else 4, "leather": 3 if smart else 0.7, "boot": 1.3})
        if kind == "sneaker":
            upper = self.colour(0.4)
            shoe = Shoe(
                kind,
                upper,
                (0.92, 0.91, 0.89) if self.chance(0.7) else self.contrast(upper),
                self.contrast(upper),
                self.between(0.02, 0.032),
            )
        else:
            upper = self.pick(_LEATHER)
            shoe = Shoe(
                kind,
                upper,
                (0.06, 0.05, 0.05) if self.chance(0.7) else (0.35, 0.25, 0.17),
                self.near(upper, 0.1),
                self.between(0.012, 0.022),
            )
        return shoe, shoe_look(shoe)

    # Head ----------------------------------------------------------------------------------------------------------

    def hair(self, female: bool, age: int, hat: bool) -> tuple[HairStyle, str]:
        weights = (
            {"long": 4, "bob": 3, "tail": 2, "bun": 1.5, "short": 1, "curly": 1.2, "buzz": 0.15}
            if female
            else {
                "short": 5,
                "buzz": 2,
                "quiff": 2,
                "curly": 1.5,
                "bald": 1.0,
                "receding": 1.0,
                "long": 0.5,
                "tail": 0.25,
                "bun": 0.25,
            }
        )
        if age == 0:
            weights.pop("bald", None)
            weights.pop("receding", None)
        if hat:
            weights = {k: v for k, v in weights.items() if k in ("short", "buzz", "long", "bob", "tail")}
        kind = choose(self.rng, weights)
        parting = self.between(-0.03, 0.03) if self.chance(0.5) else None
        fringe = self.between(0.012, 0.032) if self.chance(0.35) else 0.0
        line_ = self.between(-0.006, 0.004)
        style = {
            "bald": lambda: HairStyle(shell=0.0),
            "buzz": lambda: HairStyle(shell=0.003, bulk=0.001, rough=0.0008, roughness=160, hairline=line_),
            "short": lambda: HairStyle(
                self.between(0.006, 0.014),
                self.between(0.004, 0.018),
                self.between(0.002, 0.005),
                self.between(50, 90),
                line_,
                fringe * self.chance(0.6),
                combed=self.chance(0.4),
            ),
            "quiff": lambda: HairStyle(
                self.between(0.005, 0.009), self.between(0.02, 0.034), 0.004, 60, -0.004, combed=True
            ),
            "receding": lambda: HairStyle(0.006, 0.002, 0.002, 80, self.between(-0.035, -0.02), combed=True),
            "curly": lambda: HairStyle(
                self.between(0.015, 0.04),
                self.between(0.01, 0.03),
                self.between(0.008, 0.014),
                self.between(55, 80),
                line_,
                hanging=self.between(0.05, 0.22) if female and self.chance(0.5) else 0.0,
                wave=0.012,
            ),
            "bob": lambda: HairStyle(
                self.between(0.010, 0.016),
                self.between(0.006, 0.014),
                0.0015,
                60,
                line_,
                fringe,
                hanging=self.between(0.06, 0.14),
                opening=self.between(58, 74),
                wave=self.between(0.001, 0.006),
                parting=parting,
            ),
            "long": lambda: HairStyle(
                self.between(0.009, 0.014),
                self.between(0.004, 0.012),
                0.0015,
                60,
                line_,
                fringe,
                hanging=self.between(0.18, 0.42),
                opening=self.between(60, 95),
                wave=self.between(0.001, 0.010),
                parting=parting,
            ),
            "tail": lambda: HairStyle(
                0.008,
                0.005,
                0.0015,
                60,
                line_,
                fringe * self.chance(0.5),
                tail=self.between(0.15, 0.40),
                tail_height=self.between(0, 1),
                combed=True,
            ),
            "bun": lambda: HairStyle(
                0.008,
                0.005,
                0.0015,
                60,
                line_,
                bun=self.between(0.028, 0.05),
                tail_height=self.between(0.1, 1.2),
                combed=True,
            ),
        }[kind]()
        return style, kind

    def outfit(self, body: str, age: int) -> Outfit:
        """Everything."""
        rng = self.rng
        female = body == "female" or (body in ("child", "neutral") and self.chance(0.5))
        tone = self.between(0, len(_SKINS) - 1.001)
        low = int(tone)
        skin = tuple(np.array(_SKINS[low]) * (1 - tone + low) + np.array(_SKINS[low + 1]) * (tone - low))
        options = _HAIR_COLOURS[:3] if tone > 3.5 and self.chance(0.9) else _HAIR_COLOURS
        weights = np.array([w for w, _ in options], float)
        colour = options[rng.choice(len(options), p=weights / weights.sum())][1]
        if age == 2 and self.chance(0.75):
            grey = self.between(0.45, 0.85)
            colour = (grey, grey, grey * 0.97)
        elif self.chance(0.025):
            colour = colorsys.hsv_to_rgb(self.between(0, 1), 0.6, 0.7)
        tip = tuple(min(1.0, c * self.between(1.1, 1.7)) for c in colour)

        smart = False
        shells: list[Garment] = []
        skirts: list[tuple[Skirt, Look]] = []
        bulk = 0.01
        kinds = {"dress": 2.2, "skirt": 1.6, "trousers": 5} if female else {"trousers": 1.0}
        kind = choose(rng, kinds)
        words = {}
        if kind == "dress":
            garment, tube = self.dress()
            shells.append(garment)
            skirts.append(tube)
            words["clothes"] = "dress"
            smart = True
        else:
            outer = choose(
                rng,
                {
                    "none": 5,
                    "jacket": 1.6,
                    "leather": 0.5,
                    "puffer": 0.7,
                    "suit": 0.3 if female or age == 0 else 1.2,
                    "coat": 1.2,
                },
            )
            opened = outer in ("suit", "coat") or self.chance(0.6)
            if kind == "skirt":
                tube = self.skirt()
                tucked, lower = self.chance(0.6), "skirt"
                smart = True
            else:
                garment, lower = self.trousers()
                tucked = self.chance(0.3) or outer == "suit"
            if outer == "none":
                upper = choose(
                    rng,
                    {
                        "tshirt": 4,
                        "shirt": 2.5,
                        "hoodie": 1.5,
                        "sweater": 1.8,
                        "tank": 1.0 if female or lower == "shorts" else 0.3,
                    },
                )
            elif outer == "suit":
                upper = "shirt" if self.chance(0.75) else "tshirt"
            else:
                upper = choose(rng, {"tshirt": 3, "shirt": 2, "sweater": 0.8})
            tucked = tucked and upper in ("tshirt", "shirt", "tank")
            top = self.top(upper, tucked, under=outer != "none")
            if kind == "skirt":
                if not tucked:
                    tube = (Skirt(**{**vars(tube[0]), "ease": 0.008}), tube[1])
                skirts.append(tube)
                shells.append(top)
            else:
                shells += [top, garment] if tucked else [garment, top]
            if outer == "coat":
                coat, tail = self.coat()
                shells.append(coat)
                skirts.append(tail)
            elif outer != "none":
                shells.append(self.jacket(outer, opened))
            bulk = {"none": 0.012 if upper in ("tshirt", "shirt", "tank") else 0.025, "puffer": 0.045}.get(outer, 0.032)
            smart = smart or outer in ("suit", "coat")
            words["clothes"] = f"{upper}, {lower}" + (
                "" if outer == "none" else f", {'open ' if opened else ''}{outer}"
            )

        shoes = self.shoes(smart, 0.03)
        words["shoes"] = shoes[0].kind if shoes else "barefoot"
        if shoes is not None and shoes[0].kind == "boot":
            shaft = Cut(bottom=-0.93, top=self.between(-0.80, -0.60), neck=9.0)
            boot = Garment(shaft, Fit(0.009, 0.0, 0.004, smooth=4, folds=0.003), plain(shoes[0].upper, 0.3))
            if self.chance(0.4) or kind != "trousers":
                shells.append(Garment(shaft, Fit(0.014, 0.0, 0.006, smooth=4, folds=0.003), boot.look))
            else:
                shells.insert(0, boot)
        elif shoes is not None and self.chance(0.75):
            sock = fabric(self.pattern({"solid": 4, "stripes": 1}, 0.3), Details(seams=0.0))
            shells.insert(
                0,
                Garment(
                    Cut(bottom=-0.95, top=self.between(-0.84, -0.68), neck=9.0),
                    Fit(0.002, 0, 0.001, smooth=1, folds=0.001),
                    sock,
                ),
            )

        hat = None
        if self.chance(0.16):
            hat = (
                Hat(self.pick(("cap", "cap", "beanie", "beanie", "brim", "bucket")), self.between(-0.004, 0.006)),
                fabric(
                    self.pattern({"solid": 5, "knit": 1, "camouflage": 0.4, "checks": 0.4}, 0.5), Details(seams=0.0)
                ),
            )
        style, hair_kind = self.hair(female, age, hat is not None)
        words["hair"] = hair_kind if hat is None else f"{hair_kind}, {hat[0].kind}"
        hair = (style, strands(colour, tip, self.between(0, 50), self.between(0.25, 0.6), style.parting))
        beard = None
        stubble = 0.0
        if not female and age > 0:
            if self.chance(0.28):
                beard = (self.between(0.003, 0.014), strands(colour, colour, self.between(0, 50), 0.4))
                words["beard"] = "beard"
            elif self.chance(0.5):
                stubble = self.between(0.2, 0.9)
        painted = female and age > 0
        warm = np.array(skin) * (0.86, 0.60, 0.58)
        lips = tuple(
            warm * (1 - 0.5 * painted)
            + 0.5 * painted * np.array(colorsys.hsv_to_rgb(self.between(0.94, 1.02) % 1, 0.65, self.between(0.4, 0.75)))
        )
        iris = self.pick(
            ((0.24, 0.15, 0.08), (0.18, 0.11, 0.07), (0.30, 0.40, 0.52), (0.33, 0.38, 0.22), (0.36, 0.30, 0.20))
        )
        face = Face(
            skin=skin,
            lips=lips,
            brows=tuple(0.75 * c for c in colour) if age < 2 else tuple(0.6 * c for c in colour),
            iris=iris,
            brow_weight=self.between(0.002, 0.0034) if female else self.between(0.0028, 0.005),
            brow_tilt=self.between(0.001, 0.006),
            lip_fullness=self.between(0.006, 0.0105),
            lip_strength=self.between(0.3, 1.0) if painted else self.between(0.15, 0.5),
            lashes=self.between(0.6, 0.95) if female else self.between(0.35, 0.7),
            shadow=self.between(0.1, 0.6) if painted else 0.15,
            blush=self.between(0.1, 0.5),
            stubble=stubble,
            age=(0.0, self.between(0, 0.5), self.between(0.6, 1.0))[age],
            freckles=self.between(0.3, 0.9) if tone < 2 and self.chance(0.2) else 0.0,
            seed=self.between(0, 50),
        )
        bag = None
        if self.chance(0.16):
            bag_kind = self.pick(("backpack", "shoulder", "hand"))
            bag_look = (
                plain(self.pick(_LEATHER), 0.25)
                if self.chance(0.5)
                else fabric(self.pattern({"solid": 3, "camouflage": 0.5, "checks": 0.5}, 0.6), Details(seams=0.0))
            )
            bag = (bag_kind, bag_look)
            words["bag"] = bag_kind
        gaze = (self.between(-0.002, 0.002), self.between(-0.001, 0.001))
        return Outfit(
            tuple(shells),
            tuple(skirts),
            shoes,
            hair,
            beard,
            hat,
            skin_look(face),
            eye_look(iris, gaze),
            bag,
            bulk,
            words,
        )


def sample_outfit(rng: np.random.Generator, body: str, age: int) -> Outfit:
    """A random outfit for a ``body`` (name of the file) of ``age`` 0 child, 1 adult, 2 old."""
    return _Dresser(rng).outfit(body, age)


_LOOSER = {"slack": 0.05, "limb_slack": 0.03, "cuff": 0.045, "flare": 0.03}
"""Metres by which loose clothes stand off more, at most."""
_TIGHT = 0.004
"""Metres of slack below which garments are tights or socks, and stay so."""
_SHAFT = -0.5
"""Height of the upper hem below which it is a boot's shaft or a sock."""


def loosened(outfit: Outfit, rng: np.random.Generator) -> Outfit:
    """The same clothes some sizes larger: wide sleeves, and shirts that fill what is between arm and trunk."""
    # All by as much, or the inner ones would show through the outer. Skirts and coat tails stay as they are, and what
    # is below them too.
    names = ("cuff",) if outfit.skirts else tuple(_LOOSER)
    more = {name: float(rng.uniform(0, _LOOSER[name])) for name in names}
    folds = float(rng.uniform(1, 1.8))

    def loose(garment: Garment) -> Garment:
        fit = garment.fit
        # Nor do boots get wider.
        if max(fit.slack, fit.limb_slack) < _TIGHT or garment.cut.top < _SHAFT:
            return garment
        wider = {name: getattr(fit, name) + by for name, by in more.items()}
        return replace(garment, fit=replace(fit, folds=folds * fit.folds, **wider))

    # What lies on the trunk, such as straps, lies on the looser cloth.
    bulk = outfit.bulk + more.get("slack", 0.0) / 2
    return replace(outfit, shells=tuple(loose(garment) for garment in outfit.shells), bulk=bulk)
