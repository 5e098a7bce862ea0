"""The distillation model: what it trains, exports, resumes; with toy networks, in this process."""

import copy
from pathlib import Path

import pytest
import torch
from tiny_training import TOTAL, advance, build, tiny_options

from vsrkd_plugin.archs.vdsr_arch import VDSR
from vsrkd_plugin.config.defaults import complete
from vsrkd_plugin.config.validating import validate
from vsrkd_plugin.distillation.features import FeatureTaps
from vsrkd_plugin.errors import TrainingStopped, UserError
from vsrkd_plugin.losses.feature_distillation_loss import FeatureDistillationLoss
from vsrkd_plugin.losses.sharpness_loss import SharpnessLoss
from vsrkd_plugin.preflight.networks import check_networks
from vsrkd_plugin.registration import register


@pytest.fixture
def options(tmp_path: Path, image_folder: Path) -> dict:
    return tiny_options(tmp_path, image_folder)


def test_the_student_comes_nearer_to_its_teacher(options: dict, tmp_path: Path) -> None:
    options['train'].update(total_iter=150, init='random', ema_decay=0)
    options['network_g']['start'] = 'identity'
    model = build(options, tmp_path)
    lr = model.task.inputs.preview(2, 16).lr

    def distance() -> float:
        with torch.no_grad():
            student, teacher = model.task.networks.outputs(lr, 2)
        return float((student - teacher).abs().mean())

    before = distance()
    advance(model, 1, 150)
    assert distance() < 0.7 * before


def test_self_ensemble_is_the_mean_over_the_turns(options: dict, tmp_path: Path) -> None:
    options['train']['self_ensemble'] = True
    model = build(options, tmp_path)
    lr, teacher = model.task.inputs.preview(2, 3).lr, model.task.networks.teacher
    with torch.no_grad():
        outputs = []
        for flip in (False, True):
            for quarter in range(4):
                x = torch.rot90(lr.flip(3) if flip else lr, quarter, (2, 3))
                y = torch.rot90(teacher(x, 2), -quarter, (2, 3))
                outputs.append(y.flip(3) if flip else y)
    torch.testing.assert_close(
        model.task.networks.teacher_target(lr, 2), torch.stack(outputs).mean(0), rtol=0, atol=1e-6
    )


def test_a_bank_asks_the_teacher_for_its_share(options: dict, tmp_path: Path) -> None:
    options['synthesis']['bank'] = {'reuse': 4, 'rows': 8}
    options['train'].update(generator_freq=1000, total_iter=50)
    model = build(options, tmp_path)
    asked = []
    model.task.networks.teacher.network.register_forward_hook(lambda *_: asked.append(1))
    advance(model, 2, 41)  # the generators' step is in the first iteration
    assert len(asked) == model.task.inputs.asked // 4
    assert 40 / 4 <= len(asked) <= 40 / 4 + 4


@pytest.mark.parametrize(('banked', 'degraded'), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize('gan_start', [None, 5])
def test_resuming_is_exact(
    options: dict, tmp_path: Path, image_folder: Path, banked: bool, degraded: bool, gan_start: int | None
) -> None:
    """Stopped after 11 of 24 iterations, saved, loaded into a new model and trained on: the same bits everywhere."""
    if banked:
        options['synthesis']['bank'] = {'reuse': 3, 'rows': 12}
        options['train'].update(self_ensemble=True, optim_g={'type': 'Muon', 'lr': 2e-3, 'least_width': 4})
    if degraded:
        options['synthesis']['sources'].append({'type': 'lr_images', 'dataroot_lq': str(image_folder)})
        options['synthesis']['degrade'] = {
            'clean_prob': 0.1, 'blur_sigma': [0, 2], 'resize_range': [0.7, 1.2], 'noise_range': [0, 9],
            'poisson_scale_range': [0, 1], 'jpeg_range': [50, 90],
        }  # fmt: skip
    if gan_start is not None:
        options['network_d'] = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 1, 'num_feat': 4}
        gan = {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1}
        options['train'].update(gan_opt=gan, optim_d={'type': 'Adam', 'lr': 1e-3}, gan_start=gan_start)
        options['synthesis']['hr_size'] = 24
        options['synthesis']['sources'][0]['image_size'] = 24
    whole = build(options, tmp_path)
    advance(whole, 1, TOTAL)
    first = build(options, tmp_path)
    advance(first, 1, 11)
    state = {
        'iter': 11,
        'epoch': 0,
        'optimizers': [o.state_dict() for o in first.optimizers],
        'schedulers': [s.state_dict() for s in first.schedulers],
        **first.extra_state(),
    }
    file = tmp_path / 'state'
    torch.save(state, file)
    resumed_options = copy.deepcopy(options)
    resumed_options['path']['resume_state'] = str(file)
    second = build(resumed_options, tmp_path)
    second.resume_training(torch.load(file, weights_only=True))
    advance(second, 12, TOTAL)
    pairs = [(whole.net_g, second.net_g), (whole.net_g_ema, second.net_g_ema)]
    if gan_start is not None:
        pairs.append((whole.task.discriminator.network, second.task.discriminator.network))
    for ours, theirs in pairs:
        for name, value in ours.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[name]), name
    mixtures = [m.task.inputs.source if banked else m.task.inputs for m in (whole, second)]
    sources = [mixture.sources[1].source if degraded else mixture.sources[1] for mixture in mixtures]
    learned, again = (source.state_dict()['generators'] for source in sources)
    for scale, weights in learned.items():
        assert all(torch.equal(value, again[scale][name]) for name, value in weights.items())
    assert whole.net_g.active == second.net_g.active == 4


def test_a_discriminator_takes_part_after_its_start(options: dict, tmp_path: Path) -> None:
    """Until then the training is the one without it, bit for bit; then its losses and its rate are in the log."""
    options['network_d'] = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 1, 'num_feat': 4}
    gan = {'type': 'GANLoss', 'gan_type': 'lsgan', 'loss_weight': 10}
    options['train'].update(gan_opt=gan, optim_d={'type': 'Adam', 'lr': 1e-3}, gan_start=3)
    options['synthesis']['hr_size'] = 24
    options['synthesis']['sources'][0]['image_size'] = 24
    model = build(options, tmp_path)
    options['train'].update(gan_opt=None, optim_d=None, gan_start=0)
    plain = build({key: value for key, value in options.items() if key != 'network_d'}, tmp_path)

    def alike() -> bool:
        return all(torch.equal(*pair) for pair in zip(plain.net_g.parameters(), model.net_g.parameters(), strict=True))

    for one in (plain, model):
        advance(one, 1, 3)
    assert alike() and 'l_d_real' not in model.get_current_log()
    for one in (plain, model):
        advance(one, 4, 6)
    log = model.get_current_log()
    assert not alike() and {'l_g_gan', 'l_d_real', 'l_d_fake'} <= log.keys()
    assert log['lr_d'] == model.task.discriminator.optimizer.param_groups[0]['lr'] < 1e-3
    assert log['lr_z'] == model.task.inputs.optimizers[0].param_groups[0]['lr']


def test_student_steps_leave_teacher_and_generators_alone(options: dict, tmp_path: Path) -> None:
    options['train']['generator_freq'] = 1000  # one generator step, at the first iteration
    model = build(options, tmp_path)
    advance(model, 1, 1)
    teacher = copy.deepcopy(model.task.networks.teacher.state_dict())
    generators = copy.deepcopy(model.task.inputs.sources[1].state_dict()['generators'])
    student = copy.deepcopy(model.net_g.state_dict())
    advance(model, 2, 4)
    assert all(torch.equal(v, teacher[k]) for k, v in model.task.networks.teacher.state_dict().items())
    for scale, weights in model.task.inputs.sources[1].state_dict()['generators'].items():
        assert all(torch.equal(v, generators[scale][k]) for k, v in weights.items())
    assert any(not torch.equal(v, student[k]) for k, v in model.net_g.state_dict().items())
    assert all(p.grad is None for p in model.task.networks.teacher.parameters())


def test_a_generator_step_leaves_the_student_alone(options: dict, tmp_path: Path) -> None:
    model = build(options, tmp_path)
    student = copy.deepcopy(model.net_g.state_dict())
    before = copy.deepcopy(model.task.inputs.sources[1].state_dict()['generators'][2])
    losses = model.task.inputs.step(model.task.objective, 4, 2)
    assert set(losses) == {'l_adv', 'l_rec'}
    assert all(torch.equal(v, student[k]) for k, v in model.net_g.state_dict().items())
    assert all(p.grad is None for p in model.net_g.parameters())
    after = model.task.inputs.sources[1].state_dict()['generators'][2]
    assert any(not torch.equal(v, before[k]) for k, v in after.items())


def test_the_generators_gradient_by_finite_differences(options: dict, tmp_path: Path) -> None:
    """The objective's gradient with respect to an input pixel, through teacher, student and both losses."""
    model = build(options, tmp_path)
    lr = model.task.inputs.preview(2, 2).lr[:1].clone()
    x = lr.requires_grad_()
    (gradient,) = torch.autograd.grad(sum(model.task.objective(x, 2).values()), x)
    step = 1e-3  # small: the losses have kinks
    where = gradient.abs().flatten().topk(3).indices
    for index in where.tolist():
        moved = torch.zeros(lr.numel())
        moved[index] = step
        with torch.no_grad():
            high, low = (sum(model.task.objective(lr + sign * moved.view_as(lr), 2).values()) for sign in (1, -1))
        assert float(high - low) / (2 * step) == pytest.approx(float(gradient.flatten()[index]), rel=0.1, abs=1e-4)


def test_growth_follows_the_schedule(options: dict, tmp_path: Path) -> None:
    model = build(options, tmp_path)
    seen = []
    for iteration in range(1, TOTAL + 1):
        advance(model, iteration, iteration)
        seen.append(model.net_g.active)
    assert seen == [2] * 8 + [3] * 8 + [4] * 8
    assert model.net_g_ema.active == 4


def test_the_exported_student_is_plain(options: dict, tmp_path: Path) -> None:
    """`net_g_*.pth` loads in stock BasicSR's network, strictly, under `params`; and it is the moving average."""
    model = build(options, tmp_path)
    for key in ('models', 'training_states'):
        Path(model.opt['path'][key]).mkdir(parents=True)
    advance(model, 1, 3)
    model.save(0, 3)
    content = torch.load(Path(model.opt['path']['models']) / 'net_g_3.pth', weights_only=True)
    assert list(content) == ['params']
    plain = VDSR(num_feat=4, num_block=4)
    plain.load_state_dict(content['params'], strict=True)
    for name, value in model.net_g_ema.state_dict().items():
        assert torch.equal(value, content['params'][name])
    assert any(not torch.equal(v, content['params'][k]) for k, v in model.net_g.state_dict().items())


def test_log_has_every_figure_once(options: dict, tmp_path: Path) -> None:
    model = build(options, tmp_path)
    advance(model, 1, 4)
    model.get_current_log()
    advance(model, 5, 8)
    log = model.get_current_log()
    assert {'l_kd', 'l_adv', 'l_rec', 'lr_g', 'lr_z', 'blocks', 'it_per_s'} == set(log)
    assert all(isinstance(value, (int, float)) for value in log.values())


def test_a_loss_that_is_not_finite_stops_before_saving(options: dict, tmp_path: Path) -> None:
    model = build(options, tmp_path)
    for key in ('models', 'training_states'):
        Path(model.opt['path'][key]).mkdir(parents=True)
    advance(model, 1, 3)
    model.save(0, 3)
    with torch.no_grad():
        model.net_g.network.output.weight[0, 0, 0, 0] = float('nan')
    advance(model, 4, 6)
    with pytest.raises(TrainingStopped, match=r'iteration 4: loss l_\w+ is not finite.*3\.state'):
        model.save(0, 6)
    assert not (Path(model.opt['path']['models']) / 'net_g_6.pth').exists()
    with pytest.raises(TrainingStopped, match='iteration 4'):
        model.get_current_log()


def test_a_state_of_other_options_is_refused(options: dict, tmp_path: Path) -> None:
    model = build(options, tmp_path)
    with pytest.raises(UserError, match='holds no'):
        model.resume_training({'iter': 1, 'epoch': 0, 'optimizers': [], 'schedulers': []})


def test_edsr_of_basicsr_is_distilled(options: dict, tmp_path: Path) -> None:
    """A post-upsampling RGB teacher into a smaller student of the same kind, grown from one block."""
    from basicsr.archs.edsr_arch import EDSR

    torch.save({'params': EDSR(3, 3, num_feat=8, num_block=3, upscale=2).state_dict()}, tmp_path / 'edsr.pth')
    edsr = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'upscale': 2}
    options.update(scales=[2], network_t={**edsr, 'num_feat': 8, 'num_block': 3})
    options['network_g'] = {**edsr, 'num_feat': 4, 'num_block': 2}
    options['path']['pretrain_network_t'] = str(tmp_path / 'edsr.pth')
    options['train'].update(init='random', growth={'start': 1, 'every': 1, 'block_start': 'random'})
    for precision in ('fp32', 'bf16'):
        model = build({**options, 'precision': precision}, tmp_path)
        advance(model, 1, 2)
        assert model.net_g.active == 2
        student, teacher = model.task.networks.outputs(model.task.inputs.preview(2, 2).lr, 2)
        assert student.shape == teacher.shape == (2, 3, 12, 12)
        assert student.dtype == teacher.dtype == torch.float32
        assert torch.isfinite(torch.tensor(list(model.get_current_log().values()))).all()


@pytest.mark.parametrize('kind', ['SGD', 'AdamW'])
def test_optimisers(options: dict, tmp_path: Path, kind: str) -> None:
    options['train'].update(
        optim_g={'type': kind, 'lr': 1e-3, 'weight_decay': 1e-4}, optim_z={'type': kind, 'lr': 1e-3}
    )
    model = build(options, tmp_path)
    assert [type(o).__name__ for o in model.optimizers] == [kind] * 3
    advance(model, 1, 2)


def test_layers_are_tied_to_the_teachers(options: dict, tmp_path: Path) -> None:
    """The student's layer comes to look where the teacher's looks, and does not without."""
    register()
    options['synthesis']['bank'] = {}
    layers = {
        'type': 'FeatureDistillationLoss',
        'layers': {'residual_layer.1.conv': 'residual_layer.1.conv'},
        'loss_weight': 0.05,
    }
    options['train'].update(total_iter=60, growth=None, init='random')
    found = {}
    for tied in (None, layers):
        options['train']['feature_opt'] = tied
        validate(options, True)
        model = build(options, tmp_path)
        advance(model, 1, 60)
        loss = FeatureDistillationLoss(layers['layers'])
        taps = [
            FeatureTaps(net, ['residual_layer.1.conv']) for net in (model.net_g, model.task.networks.teacher.network)
        ]
        for tap in taps:
            tap.listen()
        with torch.no_grad():
            model.task.networks.outputs(model.task.inputs.preview(2, 16).lr, 2)
        found[bool(tied)] = float(loss(*(tap.take() for tap in taps)))
        assert ('l_feat' in model.get_current_log()) == bool(tied)
    assert found[True] < 0.9 * found[False]
    options['synthesis']['bank'] = {'reuse': 4}
    with pytest.raises(UserError, match=r'feature_opt: needs .* in every step; expected no synthesis, bank'):
        validate(options, True)
    options['synthesis']['bank'] = {}
    options['train']['feature_opt'] = {**layers, 'layers': {'residual_layer.1.conv': 'residual_layer.99'}}
    complete(options, str(tmp_path), True)
    with pytest.raises(UserError, match=r"feature_opt, layers: VDSR has no module 'residual_layer\.99'"):
        check_networks(options)


def test_losses_beside_are_of_the_options(options: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their values in the log are those of the losses themselves, on the outputs of the step, times their weight."""
    from basicsr.losses import basic_loss

    class Flat(torch.nn.Module):  # what stands for VGG: channels' means
        def __init__(self, *_args, **_kwargs) -> None:
            super().__init__()

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            assert x.shape[1] == 3
            return {'conv5_4': x.mean((2, 3), keepdim=True)}

    monkeypatch.setattr(basic_loss, 'VGGFeatureExtractor', Flat)
    options['train']['sharpness_opt'] = {'type': 'SharpnessLoss', 'loss_weight': 3.0, 'levels': 1}
    options['train']['perceptual_opt'] = {
        'type': 'PerceptualLoss',
        'layer_weights': {'conv5_4': 1.0},
        'style_weight': 0,
    }
    model = build(options, tmp_path)
    seen = {}
    beside = dict(model.task.beside)
    for name, loss in beside.items():
        model.task.beside[name] = lambda o, t, n=name, f=loss: seen.setdefault(n, (o.detach(), t, f(o, t)))[2]
    losses = model.task.step(1)
    output, target, _ = seen['l_sharp']
    assert losses.keys() >= {'l_kd', 'l_sharp', 'l_percep'}
    assert losses['l_sharp'] == pytest.approx(float(3 * SharpnessLoss(levels=1)(output, target)), rel=1e-5)
    assert losses['l_percep'] == pytest.approx(
        float((output.mean((2, 3)) - target.mean((2, 3))).abs().mean()), rel=1e-4
    )
