"""How stock BasicSR resumes, saves and loads; each patch says what goes wrong without it."""

import logging
import os
import pickle
from pathlib import Path
from typing import Any

logger = logging.getLogger('basicsr')


def readable_states(folder: Path) -> list[tuple[int, Path]]:
    """The training states of an experiment, newest first, by the iteration in their name."""
    states = [(int(file.stem), file) for file in folder.glob('*.state') if file.stem.isdigit()]
    return sorted(states, reverse=True)


def mend_resume() -> None:
    """Symptoms: resuming without a GPU crashes (`torch.cuda.current_device()`); a truncated newest state is picked for
    ever; auto-resume looks below the current directory whatever the root."""
    import basicsr.train
    import torch
    from basicsr.utils import check_resume

    from vsrkd_plugin.errors import UserError, first_line
    from vsrkd_plugin.run.run_record import clock

    def load(path: Path) -> dict[str, Any]:
        # On the CPU: load_state_dict moves what belongs elsewhere.
        return torch.load(path, map_location='cpu', weights_only=True)

    def load_resume_state(opt: dict[str, Any]) -> dict[str, Any] | None:
        unreadable = (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError)
        state = None
        if opt['auto_resume']:
            for iteration, file in readable_states(Path(opt['path']['training_states'])):
                try:
                    state = load(file)
                except unreadable as error:
                    print(f'Skip {file}: not readable ({first_line(error)})', flush=True)
                    continue
                opt['path']['resume_state'] = str(file)
                print(f'Resume from {file}, iteration {iteration}', flush=True)
                break
        elif opt['path'].get('resume_state'):
            file = Path(opt['path']['resume_state'])
            try:
                state = load(file)
            except unreadable as error:
                raise UserError(f'path, resume_state: {file} cannot be read ({first_line(error)})') from error
        if state is not None:
            check_resume(opt, state['iter'])
            clock.start(state.get('seconds', 0.0))
        else:
            clock.start(0.0)
        return state

    basicsr.train.load_resume_state = load_resume_state


def mend_saving() -> None:
    """Symptoms: a kill while saving leaves a truncated file under the final name; a disk that is full is ignored and
    training goes on without checkpoints; nothing is ever pruned."""
    from basicsr.models.base_model import BaseModel
    from basicsr.utils.dist_util import master_only

    from vsrkd_plugin.run.checkpoints import save_atomically
    from vsrkd_plugin.run.run_record import clock, write_run_record

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

    @master_only
    def save_training_state(self: Any, epoch: int, current_iter: int) -> None:
        if current_iter == -1:
            write_run_record(self)
            return
        state = {
            'epoch': epoch,
            'iter': current_iter,
            'seconds': clock.seconds(),
            'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
            'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
            **getattr(self, 'extra_state', dict)(),
        }
        save_atomically(state, os.path.join(self.opt['path']['training_states'], f'{current_iter}.state'))
        prune_checkpoints(self.opt)

    BaseModel.save_network = save_network
    BaseModel.save_training_state = save_training_state


def prune_checkpoints(opt: dict[str, Any]) -> None:
    """Keep the newest `logger.keep_checkpoints` states and numbered models of an experiment; all if not set."""
    keep = opt['logger'].get('keep_checkpoints')
    if not keep:
        return
    numbered = readable_states(Path(opt['path']['training_states']))
    old = {iteration for iteration, _ in numbered[keep:]}
    for iteration, file in numbered[keep:]:
        file.unlink(missing_ok=True)
        for model in Path(opt['path']['models']).glob(f'net_*_{iteration}.pth'):
            model.unlink(missing_ok=True)
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
        net = self.get_bare_model(net)
        logger.info('Loading %s from %s.', type(net).__name__, load_path)
        load_weights(net, load_path, param_key, strict)

    BaseModel.load_network = load_network
