"""How stock BasicSR resumes, saves and loads; each patch says what goes wrong without it."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsrkd_plugin.basicsr_patches.terminal import end_training
from vsrkd_plugin.run.training_states import numbered_states, share_of

logger = logging.getLogger('basicsr')


@dataclass
class Progress:
    """Where the training of this process is."""

    val_loaders: Sequence[Any] = ()
    state: dict[str, Any] | None = None  # that is gone on from

    epoch: int = 0  # that is being run; stock runs on through empty ones after the last iteration
    last: tuple[int, int] | None = None  # epoch and number of the newest iteration; None before the first
    resumed: int | None = None  # the iteration that is gone on from, until its epoch has begun
    validate: int | None = None  # the same, until it is validated; None where it is not to be
    copy_options: Callable[[], None] | None = None  # that waits until it is certain that the state fits them


progress = Progress()
# Of a scheduler's state: what options give. A training that was over may be made longer.
_OF_OPTIONS = ('periods', 'cumulative_period', 'restart_weights', 'eta_min', 'milestones', 'restarts', 'gamma')
_FOLDERS = ('experiments_root', 'models', 'training_states', 'visualization')


def mend_resume() -> None:
    """Symptoms: resuming without a GPU crashes (`torch.cuda.current_device()`); a newest state that is truncated, empty
    or something else is picked for ever; auto-resume looks below the current directory whatever the root, and forgets
    `path, resume_state` where there is no state yet; a state of another experiment is gone on with in folders that are
    not there; a teacher with `param_key_t: params_ema` becomes another one; a training that is made longer ends in a
    traceback, since a state's cosines are over; a state is saved before its iteration is validated, so that a kill in
    between loses the measurement, and any kill behind it the best one; a `total_iter` below the state's makes the
    report tell of fewer iterations than the weights have."""
    import basicsr.train
    from basicsr.models.base_model import BaseModel

    from vsrkd_plugin.errors import UserError
    from vsrkd_plugin.ops.precision import PRECISIONS
    from vsrkd_plugin.run.run_record import clock
    from vsrkd_plugin.run.training_states import newest_state, read_state

    def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
        paths = opt['path']
        progress.epoch, progress.last, progress.resumed, progress.validate = 0, None, None, None
        progress.state = progress.copy_options = None
        state, file = None, Path(paths['resume_state']) if paths.get('resume_state') else None
        if opt['auto_resume']:
            found = newest_state(Path(paths['training_states']), lambda line: print(line, flush=True))
            file, state = found or (file, None)
        if file is not None and state is None:
            try:
                state = read_state(file)
            except UserError as error:
                raise UserError(f'path, resume_state: {error}') from error
        if file is None or state is None:
            clock.start(0.0)
            return None
        total = int(opt['train']['total_iter'])
        if state['iter'] > total:
            raise UserError(
                f'train, total_iter: {total:,}, but {file} is of iteration {state["iter"]:,}; expected no less, or '
                'another name for a training anew'
            )
        seed, before = opt.get('manual_seed'), state.get('manual_seed')  # 0.1.0 did not keep it
        if before is not None and seed != before:
            raise UserError(
                f'manual_seed: {seed}, but the training of {file} has {before}; expected the same, or another name for '
                'a training anew'
            )
        if opt.get('precision') == 'auto' and state.get('precision') in PRECISIONS:
            opt['precision'] = state['precision']  # another machine, or a busy one, may choose otherwise
        progress.state = state
        paths['resume_state'] = str(file)
        print(f'Resume from {file}, iteration {state["iter"]}', flush=True)
        _load_own_checkpoints(opt, state['iter'])
        if opt['rank'] == 0:  # stock makes them for new trainings only; the state may be another experiment's
            for key in _FOLDERS:
                os.makedirs(paths[key], exist_ok=True)
        clock.start(state.get('seconds', 0.0))
        return state

    stock = BaseModel.resume_training

    def resume_training(self: Any, resume_state: dict[str, Any]) -> None:
        """Of its schedulers a state tells where they are; what they are like, the options say."""
        schedulers = [
            {key: value for key, value in state.items() if key not in _OF_OPTIONS}
            for state in resume_state['schedulers']
        ]
        stock(self, {**resume_state, 'schedulers': schedulers})
        progress.resumed = resume_state['iter']
        if (val := self.opt.get('val')) is not None and resume_state['iter'] % val['val_freq'] == 0:
            progress.validate = resume_state['iter']

    basicsr.train.load_resume_state = load_resume_state
    BaseModel.resume_training = resume_training


def _load_own_checkpoints(opt: dict[str, Any], iteration: int) -> None:
    """Point the networks that resuming loads at their checkpoints, at the raw weights; leave the others alone."""
    from basicsr.utils import check_resume

    paths = opt['path']
    labels = {key.removeprefix('network_') for key in opt if key.startswith('network_')}
    others = {key.removeprefix('network_') for key in paths.get('ignore_resume_networks') or ()}
    kept = {key: paths[key] for key in (f'param_key_{label}' for label in others) if key in paths}
    check_resume(opt, iteration)
    paths.update({f'param_key_{label}': 'params' for label in labels - others}, **kept)


def mend_saving() -> None:
    """Symptoms: a kill while saving leaves a truncated file under the final name; a disk that is full is ignored and
    training goes on without checkpoints; nothing is ever pruned; a finished training that is to go on, with a larger
    `total_iter`, goes back to the last multiple of `save_checkpoint_freq`."""
    from basicsr.models.base_model import BaseModel
    from basicsr.utils.dist_util import master_only

    from vsrkd_plugin.ops.parallel import wait_for_all
    from vsrkd_plugin.run.run_record import clock, write_run_record
    from vsrkd_plugin.run.whole_files import save_atomically

    @master_only
    def save_network(self: Any, net: Any, net_label: str, current_iter: int, param_key: Any = 'params') -> None:
        nets = net if isinstance(net, list) else [net]
        keys = param_key if isinstance(param_key, list) else [param_key]
        content = {
            key: {name.removeprefix('module.'): value.detach().cpu() for name, value in bare.state_dict().items()}
            for bare, key in zip((self.get_bare_model(n) for n in nets), keys, strict=True)
        }
        name = 'latest' if current_iter == -1 else current_iter
        save_atomically(content, os.path.join(self.opt['path']['models'], f'{net_label}_{name}.pth'))

    def save_training_state(self: Any, epoch: int, current_iter: int) -> None:
        if current_iter != -1:
            save_share(self, current_iter)
            wait_for_all()  # the state is the last to be there
            save_state(self, epoch, current_iter)
            return
        end_training(progress.last and progress.last[1])
        if progress.last is not None and progress.last[1] % self.opt['logger']['save_checkpoint_freq']:
            self.save(*progress.last)
        save_record(self)

    @master_only
    def save_record(model: Any) -> None:
        opt = model.opt
        # Models of ours know theirs; of stock ones the network says it, if it can.
        precision = vars(model).get('precision') or opt['network_g'].get('precision', 'fp32')
        folder, iterations = Path(opt['path']['experiments_root']), int(opt['train']['total_iter'])
        write_run_record(folder, iterations, model.device, precision, opt['manual_seed'])

    def save_share(model: Any, current_iter: int) -> None:
        """What only this process knows, where it is not the first, whose state is saved whole."""
        if model.opt['rank'] > 0 and hasattr(model, 'share_state'):
            state = Path(model.opt['path']['training_states'], f'{current_iter}.state')
            save_atomically(model.share_state(), share_of(state, model.opt['rank']))

    @master_only
    def save_state(self: Any, epoch: int, current_iter: int) -> None:
        state = {
            'epoch': epoch,
            'iter': current_iter,
            'manual_seed': self.opt['manual_seed'],
            **({'precision': self.precision} if isinstance(vars(self).get('precision'), str) else {}),
            'seconds': clock.seconds(),
            'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
            'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
            **getattr(self, 'extra_state', dict)(),
        }
        save_atomically(state, os.path.join(self.opt['path']['training_states'], f'{current_iter}.state'))
        prune_checkpoints(self.opt, current_iter)

    BaseModel.save_network = save_network
    BaseModel.save_training_state = save_training_state


def prune_checkpoints(opt: dict[str, Any], iteration: int) -> None:
    """Keep the newest `logger.keep_checkpoints` states and numbered models of an experiment; all if not set.

    Newest up to `iteration`, which was just saved: a file of a higher number is none of this training's, and where it
    was skipped as unreadable it must not push out those that can be read.
    """
    keep = opt['logger'].get('keep_checkpoints')
    if not keep:
        return
    states = numbered_states(Path(opt['path']['training_states']))
    numbered = [(number, file) for number, file in states if number <= iteration]
    old = {number for number, _ in numbered[keep:]}
    for number, file in numbered[keep:]:
        file.unlink(missing_ok=True)
        models, shares = Path(opt['path']['models']).glob(f'net_*_{number}.pth'), file.parent.glob(f'{number}.rank*')
        for beside in (*models, *shares):
            beside.unlink(missing_ok=True)
    if old:
        logger.debug('Pruned the checkpoints of iterations %s', sorted(old))


def mend_loading() -> None:
    """Symptoms: a pickled module is refused, a plain state dict needs `param_key: ~`, a wrong shape ends in a traceback
    of fifty lines, `zoo:NAME` means nothing."""
    from basicsr.models.base_model import BaseModel

    from vsrkd_plugin.run.checkpoints import load_weights

    def load_network(
        self: Any, net: Any, load_path: str, strict: bool = True, param_key: str | None = 'params'
    ) -> None:
        # `params_ema` is what stock itself names for its average, which starts as the network where there is none yet.
        # What the options name was checked before the run.
        named = None if param_key == 'params_ema' else param_key
        load_weights(self.get_bare_model(net), load_path, named, strict)

    BaseModel.load_network = load_network
