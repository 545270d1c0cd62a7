"""One network written in several ways: what a method gives must not depend on the way."""

import torch
from torch import nn
from torch.nn import functional as F


class Modules(nn.Module):
    """Every ReLU and pooling a module of its own, as module hooks need it. [N, 3, 12, 12] -> 5."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.conv3 = nn.Conv2d(8, 8, 3, padding=1)
        self.relu1, self.relu2, self.relu3, self.relu4 = (nn.ReLU() for _ in range(4))
        self.pool = nn.MaxPool2d(2)
        self.dense1, self.dense2 = nn.Linear(8 * 9, 10), nn.Linear(10, 5)

    def forward(self, x):
        x = self.pool(self.relu1(self.conv1(x)))
        x = self.relu2(self.norm(self.conv2(x)))
        x = self.relu3(x + self.conv3(x))
        x = F.avg_pool2d(x, 2).flatten(1)
        return self.dense2(self.relu4(self.dense1(x)))


class Functional(Modules):
    """ReLUs are functions, methods and clamps."""

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = self.norm(self.conv2(x)).clamp(min=0)
        x = (x + self.conv3(x)).relu()
        x = F.avg_pool2d(x, 2).flatten(1)
        return self.dense2(torch.clamp_min(self.dense1(x), 0))


class Reused(Modules):
    """One ReLU for all places."""

    def forward(self, x):
        x = self.pool(self.relu1(self.conv1(x)))
        x = self.relu1(self.norm(self.conv2(x)))
        x = self.relu1(x + self.conv3(x))
        x = F.avg_pool2d(x, 2).flatten(1)
        return self.dense2(self.relu1(self.dense1(x)))


class InPlace(Modules):
    """ReLUs and the residual sum write over what they are given."""

    def forward(self, x):
        x = self.pool(F.relu_(self.conv1(x)))
        x = F.relu(self.norm(self.conv2(x)), inplace=True)
        x = self.conv3(x).add_(x).relu_()
        x = F.avg_pool2d(x, 2).flatten(1)
        return self.dense2(F.threshold_(self.dense1(x), 0, 0))


class WithSoftmax(Modules):
    """Probabilities: what is explained are the logits before them."""

    def forward(self, x):
        return super().forward(x).softmax(1)


class ReshapedSoftmax(Modules):
    """Probabilities, and more code behind them."""

    def forward(self, x):
        return super().forward(x).softmax(1)[:, :, None].squeeze(2)


class WithoutGradients(Modules):
    """Written for inference only."""

    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)


WAYS = (Functional, Reused, InPlace, WithSoftmax, ReshapedSoftmax, WithoutGradients)


def twin(way=Modules, *, seed=0, bias=True, dtype=torch.float64):
    """The network in one of the ways; the same weights for all."""
    torch.manual_seed(seed)
    model = way().to(dtype).eval()
    with torch.no_grad():
        model.norm.running_mean.normal_(0, 0.1)
        model.norm.running_var.uniform_(0.5, 2)
        model.norm.weight.normal_(1, 0.2)
        model.norm.bias.normal_(0, 0.2)
        if not bias:
            for module in model.modules():
                if getattr(module, "bias", None) is not None:
                    module.bias.zero_()
            model.norm.running_mean.zero_()
    return model


def images(samples=3, *, seed=1, dtype=torch.float64):
    """[N, 3, 12, 12] of either sign."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, 3, 12, 12, generator=generator, dtype=dtype)


def autograd(model, x, target):
    """df_target/dx of each sample."""
    x = x.clone().requires_grad_()
    output = model(x)
    index = torch.as_tensor(target).expand(len(x))
    (gradient,) = torch.autograd.grad(output.gather(1, index[:, None]).sum(), x)
    return gradient
