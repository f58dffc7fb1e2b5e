"""Training a hider as the student of a larger one (HideMIA, Eq. 7): by what its stages do, or by what they look like.

Function-aligned, a hybrid runs the first stages of the student and the remaining ones of the teacher, in both directions, and has to do
what the teacher does; feature-aligned, the states between the stages have to be alike. With an analyzer the student also learns to send
what that analyzer answers as it does to the teacher, and to read the answer (stage 2 of Algorithm 1). The paper never asks the student for
the scan itself; the term that does is ours, weighted by ``loss.secret``.
"""

from __future__ import annotations

import numpy as np
import torch
from attrs import evolve
from torch import Tensor
from torch.nn import functional as F

from privmed import registry
from privmed.errors import SettingsError
from privmed.imaging.quantise import quantise
from privmed.interfaces import Analyzer, Hider
from privmed.interfaces.abilities import Staged, State, missing
from privmed.training.analysis import Covert
from privmed.training.hiding import Hiding
from privmed.training.losses import task_loss
from privmed.training.recipe import Recipe
from privmed.training.tasks import Figures, logged


class Server(Covert):
    """The analyzer that a student is to work with, frozen, with images, masks and photographs as it is trained on.

    Args:
        recipe: of the distillation.
        device: where it computes.
        student: the hider that it is validated with.
    """

    def __init__(self, recipe: Recipe, device: str, student: Hider) -> None:
        self._student = student
        data = evolve(recipe.data, nothing=0.0)  # photographs without a scan are of the stages that train the analyzer
        super().__init__(evolve(recipe, task="covert", joint=False, data=data), device)

    def make_method(self) -> Analyzer:
        made = registry.create("analyzer", self.recipe.analyzer, weights=self.recipe.analyzer_weights)
        return made.requires_grad_(False).eval()

    def make_hider(self) -> Hider:
        return self._student

    def check_presence(self) -> None:
        """It answers what it has learned."""


class Distillation(Hiding):
    """A student with fewer blocks in a stage than its teacher.

    Of the hybrids of the printed sums one a step is drawn at random and weighted by their number: the same expectation at a fraction of
    the cost.

    Raises:
        SettingsError: for methods whose stages cannot be shared out, and for a feature-aligned student with an analyzer.
    """

    def __init__(self, recipe: Recipe, device: str) -> None:
        super().__init__(recipe, device)
        if recipe.analyzer and recipe.align != "function":
            raise SettingsError("align: features are compared without an analyzer; leave `analyzer` out.")
        self.server = Server(recipe, device, self.method) if recipe.analyzer else None
        self.teacher = (
            registry.create("hider", recipe.hider, weights=recipe.hider_weights).to(self.device).requires_grad_(False)
        )
        for role, method in (("student", self.method), ("teacher", self.teacher)):
            if missing(method, Staged):
                raise SettingsError(f"the {role} {method.name!r} cannot stop between stages, which distillation needs.")
        if self.teacher.stages % self.method.stages:
            raise SettingsError(
                f"{self.teacher.stages} blocks of the teacher cannot be shared out among {self.method.stages} of the student."
            )
        if self.method.stages < 2:
            raise SettingsError(
                "distillation: needs a student of at least 2 blocks (settings.blocks), between which it is compared."
            )
        self.ratio = self.teacher.stages // self.method.stages

    def loss(self, step: int) -> tuple[Tensor, Figures]:
        if self.server is not None:
            return self._before_the_server(self.server, step)
        rng = self.draw(step)
        secret, cover = self.pair(rng)
        if self.recipe.align == "feature":
            return self._features(secret, cover, step)
        at = self._change_over(rng)
        return self._as_hider(self._hidden(secret, cover, at), secret, cover, at, step)

    def _change_over(self, rng: np.random.Generator) -> int:
        """The stage at which the hybrid of a step changes over."""
        return int(rng.integers(1, self.method.stages))

    def _hidden(self, secret: Tensor, cover: Tensor, at: int) -> tuple[Tensor, Tensor, Tensor]:
        """What becomes of the cover: in the student, in the hybrid, and without a gradient in the teacher."""
        student, teacher, stages = self.method, self.teacher, self.method.stages
        state = student.encode(secret, cover)
        with torch.no_grad():
            target = teacher.run(state, 0, teacher.stages)[0]
        halfway = student.run(state, 0, at)
        return student.run(halfway, at, stages)[0], teacher.run(halfway, at * self.ratio, teacher.stages)[0], target

    def _as_hider(
        self, hidden: tuple[Tensor, Tensor, Tensor], secret: Tensor, cover: Tensor, at: int, step: int
    ) -> tuple[Tensor, Figures]:
        """L_hide, and that the scan comes back."""
        own, hybrid, target = hidden
        weight, others = self.recipe.loss, self.method.stages - 1
        hiding = F.mse_loss(own, target) + others * F.mse_loss(hybrid, target)
        stego = self.method.picture(own)
        figures = {"stego": F.mse_loss(stego, cover), "hide": hiding}
        loss = weight.stego * hiding
        if weight.secret or self.server is None:
            read, by_hybrid = self._recovered(self._sent(stego), at, step)
            figures["secret"] = F.mse_loss(read, secret) + others * F.mse_loss(by_hybrid, secret)
            loss = loss + weight.secret * figures["secret"]
        return loss, {k: logged(v) for k, v in figures.items()}

    def _sent(self, image: Tensor) -> Tensor:
        return quantise(image) if self.recipe.loss.rounding else image

    def _recovered(self, sent: Tensor, at: int, step: int) -> tuple[Tensor, Tensor]:
        """What the student reads, and a hybrid whose last stages are the teacher's."""
        student, teacher, stages = self.method, self.teacher, self.method.stages
        halfway = student.run(self._arrived(sent, step), stages, stages - at)
        own = student.run(halfway, stages - at, 0)[1]
        hybrid = teacher.run(halfway, (stages - at) * self.ratio, 0)[1]
        return student.picture(own), teacher.picture(hybrid)

    def _arrived(self, sent: Tensor, step: int) -> State:
        """The state in which recovering begins."""
        start = self.method.encode(sent, sent)[0]
        return start, self.method.latent(start, self.latent_draw(step))

    def _features(self, secret: Tensor, cover: Tensor, step: int) -> tuple[Tensor, Figures]:
        """The states after each stage beside the teacher's, in both directions."""
        weight, stages = self.recipe.loss, self.method.stages
        hidden, state = self._alike(self.method.encode(secret, cover), range(stages))
        stego = self.method.picture(state[0])
        back, state = self._alike(self._arrived(self._sent(stego), step), range(stages, 0, -1))
        figures = {"stego": F.mse_loss(stego, cover), "hide": hidden, "recover": back}
        figures["secret"] = F.mse_loss(self.method.picture(state[1]), secret)
        return weight.stego * hidden + weight.secret * back, {k: logged(v) for k, v in figures.items()}

    def _alike(self, state: State, places: range) -> tuple[Tensor, State]:
        """How far student and teacher are apart after each stage from a place to the next, and where the student ends."""
        mine, theirs, loss = state, state, torch.zeros((), device=self.device)
        for at in places:
            after = at + places.step
            mine = self.method.run(mine, at, after)
            with torch.no_grad():
                theirs = self.teacher.run(theirs, at * self.ratio, after * self.ratio)
            loss = loss + sum(F.mse_loss(m, t) for m, t in zip(mine, theirs))
        return loss, mine

    def _before_the_server(self, server: Server, step: int) -> tuple[Tensor, Figures]:
        """L_dist whole: hide, mia and recover."""
        server.team = self.team
        weight, others = self.recipe.loss, self.method.stages - 1
        rng = np.random.default_rng([self.recipe.seed, step, 1])
        images, truth = server.batch(step)
        cover = self.team.part(self.draw_covers(self.recipe.data.batch, images.shape[-1], rng))
        at = self._change_over(rng)
        own, hybrid, target = hidden = self._hidden(images, cover, at)
        loss, figures = self._as_hider(hidden, images, cover, at, step)
        answers = [self._answer(server, self.method.picture(part), step) for part in (own, hybrid)]
        with torch.no_grad():
            wanted = self._answer(server, self.teacher.picture(target), step)
        mia = F.mse_loss(answers[0], wanted) + others * F.mse_loss(answers[1], wanted)
        found = self._recovered(self._sent(answers[0]), at, step)
        logits = [server.method.decode(x, logits=True, check_values=False) for x in found]
        told = task_loss(logits[0], truth) + others * task_loss(logits[1], truth)
        figures |= {"mia": logged(mia), "recover": round(float(told.detach()), 4)}
        return loss + weight.mia * mia + weight.task * told, figures

    def _answer(self, server: Server, stego: Tensor, step: int) -> Tensor:
        """What the frozen analyzer answers to a stego as it arrives, with the gradient of the latter."""
        generator = self.latent_draw(step)
        return server.method.analyze(self._sent(stego), generator=generator, clamp=False, check_values=False)

    def validate(self) -> Figures:
        figures = super().validate()
        return figures if self.server is None else {**figures, **self.server.validate()}
