import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import relprop
from relprop import models, viz
from relprop.data import Preprocessing


def test_a_shipped_model_and_all_that_is_written(relprop_command, photo, tmp_path):
    ended = relprop_command(
        "explain", "--model", "lenet5", "--image", photo, "--rules", "epsilon", "--out", "out"
    )
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert lines[0] == str(photo) and lines[1].startswith("  predicted: ")
    assert " = input relevance " in lines[2] and "bias" in lines[2] and "stabiliser" in lines[2]
    assert lines[3].startswith("  preset epsilon, ") and lines[3].endswith(" s")
    said = {line.split(" wrote ")[1] for line in lines if " wrote " in line}
    assert said == {str(p.relative_to(tmp_path)) for p in (tmp_path / "out").iterdir()}
    model = models.load("lenet5")
    x = model.preprocessing(Image.open(photo))[None]
    expected = relprop.explain(model, x, rules="epsilon")
    stored = relprop.Explanation.load(tmp_path / "out" / "photo.npz")
    torch.testing.assert_close(stored.relevance, expected.relevance)
    picture = np.asarray(Image.open(tmp_path / "out" / "photo.png"))
    colours = viz.colourise(expected.heatmap()[0])
    np.testing.assert_array_equal(picture, viz.enlarge(colours, 7))


def test_rules_from_a_file(relprop_command, photo, tmp_path):
    preset = relprop.Preset([(relprop.where(), relprop.Gamma(0.3))], name="mine")
    preset.save(tmp_path / "mine.json")
    common = ("explain", "--model", "lenet5", "--image", photo, "--out", "out", "--rules")
    ended = relprop_command(*common, "mine.json")
    assert ended.code == 0, ended.err
    assert "  preset mine, " in ended.out
    stored = relprop.Explanation.load(tmp_path / "out" / "photo.npz")
    model = models.load("lenet5")
    x = model.preprocessing(Image.open(photo))[None]
    torch.testing.assert_close(stored.relevance, relprop.explain(model, x, rules=preset).relevance)
    assert "unknown preset 'mine'" in relprop_command(*common, "mine").err
    assert "no preset file other.json" in relprop_command(*common, "other.json").err


def test_several_classes_overlays_and_a_montage(relprop_command, photo, tmp_path):
    ended = relprop_command(
        *("explain", "--model", "lenet5", "--image", photo, "--rules", "epsilon"),
        *("--target", "3,7", "--overlay", "--colour-map", "blue-orange", "--gamma", 0.5),
        *("--out", "out"),
    )
    assert ended.code == 0, ended.err
    names = {path.name for path in (tmp_path / "out").iterdir()}
    single = {f"photo-{digit}{kind}.png" for digit in (3, 7) for kind in ("", "-overlay")}
    assert names == single | {"photo.png", "photo.npz"}
    assert "  3: output " in ended.out and "  7: output " in ended.out
    stored = relprop.Explanation.load(tmp_path / "out" / "photo.npz")
    assert stored.relevance.shape == (1, 2, 1, 32, 32)
    model = models.load("lenet5")
    x = model.preprocessing(Image.open(photo))[None]
    alone = relprop.explain(model, x, 7, rules="epsilon")
    torch.testing.assert_close(stored.relevance[:, 1], alone.relevance)


def test_folders_and_names_that_meet(relprop_command, photo, tmp_path):
    folder = tmp_path / "more"
    folder.mkdir()
    for name in ("photo.png", "a b.png"):
        (folder / name).write_bytes(photo.read_bytes())
    (folder / "notes.txt").write_text("no image")
    ended = relprop_command(
        *("explain", "--model", "lenet5", "--rules", "epsilon", "--out", "out"),
        *("--image", photo, folder),
    )
    assert ended.code == 0, ended.err
    names = {path.name for path in (tmp_path / "out").iterdir() if path.suffix == ".npz"}
    assert names == {"photo.npz", "photo-2.npz", "a-b.npz"}


def test_own_model_with_weights_and_preprocessing(relprop_command, photo, own_model, tmp_path):
    namespace = {}
    exec((tmp_path / f"{own_model}.py").read_text(), namespace)
    model = namespace["make"]()
    with torch.no_grad():
        model[3].bias += torch.tensor([0, 0, 50.0, 0, 0])
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    torch.save({"state_dict": model.state_dict()}, tmp_path / "w.pt")
    (tmp_path / "how.yaml").write_text("size: [8, 8]\nresize: stretch\nmean: [0.1, 0.2, 0.3]\n")
    (tmp_path / "names.txt").write_text("ant\nbee\ncat, the\ndog\neel\n")
    for number, weights in enumerate(("w.safetensors", "w.pt")):
        ended = relprop_command(
            *("explain", "--model", f"{own_model}:make", "--weights", weights, "--image", photo),
            *("--preprocessing", "how.yaml", "--std", "0.5,0.5,0.5", "--classes", "names.txt"),
            *("--out", number, "--rules", "epsilon-gamma-box", "--target", "cat, the"),
        )
        assert ended.code == 0, ended.err
        assert "predicted: cat, the (2) " in ended.out
        assert (tmp_path / str(number) / "photo-cat-the.png").exists()
    how = Preprocessing(size=(8, 8), resize="stretch", mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5))
    model.preprocessing = how
    expected = relprop.explain(
        model.eval(), how(Image.open(photo))[None], 2, rules="epsilon-gamma-box"
    )
    stored = relprop.Explanation.load(tmp_path / "1" / "photo.npz")
    torch.testing.assert_close(stored.relevance, expected.relevance)


def test_exported_program(relprop_command, photo, own_model, tmp_path):
    namespace = {}
    exec((tmp_path / f"{own_model}.py").read_text(), namespace)
    program = torch.export.export(namespace["make"]().eval(), (torch.zeros(1, 3, 8, 8),))
    torch.export.save(program, tmp_path / "m.pt2")
    ended = relprop_command(
        *("explain", "--model", "m.pt2", "--image", photo, "--size", 8, "--out", "out")
    )
    assert ended.code == 0, ended.err
    assert (tmp_path / "out" / "photo.png").exists()


EXPLAIN = ("explain", "--image", "photo.png", "--out", "out", "--model")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nope",), "there is no model 'nope': give one of lenet5, "),
        (("vgg16",), "vgg16 comes without trained weights: give yours with --weights FILE"),
        (("lenet5", "--rules", "best"), "unknown preset 'best'; there are: "),
        (("lenet5", "--colour-map", "hot"), "unknown colour map 'hot'; there are: blue-orange"),
        (("lenet5", "--gamma", "3"), "gamma lies in (0, 1]; it is 3"),
        (("lenet5", "--target", "10"), "there is no class '10'; give an index from 0 to 9 or a n"),
        (("lenet5", "--image", "gone.png"), "there is no image gone.png"),
        (("lenet5", "--image", "empty"), "no image in empty; images end in .png, .jpg"),
        (("lenet5", "--weights", "gone.pt"), "there is no file gone.pt"),
        (("lenet5", "--weights", "text.png"), "text.png is not a torch file of tensors only"),
        (("lenet5", "--weights", "w", "--random-weights"), "exclude each other"),
        (("lenet5", "--preprocessing", "gone.yaml"), "there is no file gone.yaml"),
        (("lenet5", "--preprocessing", "text.png"), "text.png must hold options such as size: "),
        (("lenet5", "--classes", "gone.txt"), "--classes: there is no file gone.txt"),
        (("lenet5", "--flat-until", "conv9"), "conv9"),
        (("gone:make",), "--model gone:make: there is no module gone; it must be installed"),
        (("OWN:gone",), "has no function or class gone"),
        (("OWN:number",), "has no function or class number"),
        (("OWN:text",), "it returned str, not a torch.nn.Module"),
        (("OWN:raises",), "ValueError: boom (with --debug: where it happened)"),
        (("OWN:make",), "is not known: give at least --size HEIGHT,WIDTH"),
        (("OWN:sorts", "--size", "8"), "cumprod"),
        (("m.pt2",), "there is no file m.pt2"),
    ],
)
def test_errors_have_no_traceback_and_exit_code_1(
    relprop_command, photo, own_model, tmp_path, arguments, message
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("just text")
    given = [argument.replace("OWN", own_model) for argument in arguments]
    ended = relprop_command(*EXPLAIN, *given)
    assert ended.code == 1
    assert ended.err.startswith("relprop: error: ") and message in ended.err
    assert "Traceback" not in ended.err and not (tmp_path / "out").exists()


def test_what_was_explained_before_an_error_is_kept(relprop_command, photo, tmp_path):
    (tmp_path / "text.png").write_text("just text")
    ended = relprop_command(*EXPLAIN, "lenet5", "--image", "text.png", "--rules", "epsilon")
    assert ended.code == 1
    assert "relprop: error: text.png can't be read as an image: " in ended.err
    assert (tmp_path / "out" / "photo.npz").exists()


def test_weights_that_do_not_fit(relprop_command, photo, own_model, tmp_path):
    save_file({"other": torch.zeros(2)}, tmp_path / "w.safetensors")
    ended = relprop_command(*EXPLAIN, f"{own_model}:make", "--weights", "w.safetensors")
    assert ended.code == 1
    assert "w.safetensors does not fit Sequential: " in ended.err and "0.weight" in ended.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("explain", "--model", "lenet5"), "name at least one image or folder"),
        (("explain", "--image", "photo.png"), "Missing option '--model'"),
        (("explode",), "No such command 'explode'"),
        ((*EXPLAIN, "lenet5", "--size", "a,b"), "--size a,b: give whole numbers, such as 224,22"),
        ((*EXPLAIN, "lenet5", "--size", "1,2,3"), "give HEIGHT,WIDTH"),
        ((*EXPLAIN, "lenet5", "--mean", "grey"), "--mean grey: give numbers, such as 0.5"),
        ((*EXPLAIN, "lenet5", "--gamma", "much"), "Invalid value for '--gamma'"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(relprop_command, photo, arguments, message):
    ended = relprop_command(*arguments)
    assert ended.code == 2 and message in ended.err
    assert "Traceback" not in ended.err
