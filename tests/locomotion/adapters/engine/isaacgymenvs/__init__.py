"""Stands for isaacgymenvs: tasks with the tensors of its VecTask (obs_buf, rew_buf, reset_buf, progress_buf, extras["time_outs"]).

There are no physics. An episode's observation is its number, its steps and the last action; it falls in the fifth step where the action is
above 0.4, and is over after ``max_episode_length`` steps. The same buffers are returned by every step, as on a GPU.
"""

import os
import sys

import torch

LONGEST = 9


class VecTask:
    """``Late``: as Anymal, an episode is begun by the step after its end."""

    num_obs, num_states, num_acts, clip_actions, clip_obs = 3, 0, 2, 1.0, 5.0
    max_episode_length = LONGEST

    def __init__(self, num_envs):
        self.num_envs = num_envs
        self.cfg = {"env": {"controlFrequencyInv": 1, "control": {"decimation": 4}}, "sim": {"dt": 0.005}}
        self.obs_buf = torch.zeros(num_envs, self.num_obs)
        self.rew_buf = torch.zeros(num_envs)
        self.reset_buf = torch.ones(num_envs, dtype=torch.long)
        self.progress_buf = torch.zeros(num_envs, dtype=torch.long)
        self.timeout_buf = torch.zeros(num_envs, dtype=torch.long)
        self.count, self.episode = torch.zeros(2, num_envs)
        self.extras, self.obs_dict = {}, {}
        self.returned, self.states_buf = torch.zeros(num_envs, self.num_obs), torch.zeros(num_envs, self.num_states)

    def reset_idx(self, env_ids):
        self.episode[env_ids] += 1
        self.count[env_ids] = 0
        self.progress_buf[env_ids] = 0
        self.reset_buf[env_ids] = 1

    def step(self, actions):
        self.actions = torch.clamp(actions, -self.clip_actions, self.clip_actions)
        self.count += 1
        self.post_physics_step()
        self.timeout_buf = (self.progress_buf >= self.max_episode_length - 1) & (self.reset_buf != 0)
        self.extras["time_outs"] = self.timeout_buf
        self.returned.copy_(torch.clamp(self.obs_buf, -self.clip_obs, self.clip_obs))  # the worst case: one tensor for all steps
        self.obs_dict["obs"] = self.returned
        if self.num_states:
            self.states_buf.copy_(torch.cat([self.returned, 10.0 + self.returned], dim=1))
            self.obs_dict["states"] = self.states_buf
        return self.obs_dict, self.rew_buf, self.reset_buf, self.extras

    def fell(self):
        return (self.count == 5) & (self.actions[:, 0] > 0.4)

    def observe(self):
        self.obs_buf[:] = torch.stack([self.episode, self.count, self.actions[:, 0]], dim=1)

    def pay(self):
        self.rew_buf[:] = 1.0 - (self.actions[:, 0] + 0.3) ** 2

    def post_physics_step(self):
        self.progress_buf += 1
        pending = self.reset_buf.nonzero(as_tuple=False).squeeze(-1)
        if len(pending) > 0:
            self.reset_idx(pending)
        self.observe()
        self.pay()
        self.reset_buf[:] = self.fell() | (self.progress_buf >= self.max_episode_length - 1)


class AtOnce(VecTask):
    """As AnymalTerrain: the step that ends an episode begins the next, and VecTask's time_outs say nothing of it."""

    num_states = 6

    def post_physics_step(self):
        self.progress_buf += 1
        self.reset_buf = (self.fell() | (self.progress_buf >= self.max_episode_length)).long()
        self.pay()
        ended = self.reset_buf.nonzero(as_tuple=False).flatten()
        self.reset_idx(ended)
        self.extras["episode"] = {"rew_torques": torch.tensor(-0.5)}
        self.observe()


class Waits(VecTask):
    """As HumanoidAMP: it begins an episode when reset_done() is called, which nobody does."""

    def post_physics_step(self):
        self.progress_buf += 1
        self.observe()
        self.pay()
        self.reset_buf[:] = self.progress_buf >= self.max_episode_length - 1


class Breaks(VecTask):
    steps = 0

    def step(self, actions):
        self.steps += 1
        if self.steps > 20:
            raise RuntimeError("PhysX has lost its GPU")
        return super().step(actions)


class Dies(VecTask):
    steps = 0

    def step(self, actions):
        self.steps += 1
        if self.steps > 20:
            print("Segmentation fault in PhysX", file=sys.stderr, flush=True)
            os._exit(139)
        return super().step(actions)


TASKS = {"Late": VecTask, "AtOnce": AtOnce, "Waits": Waits, "Breaks": Breaks, "Dies": Dies}


def make(seed, task, num_envs, sim_device, rl_device, graphics_device_id=-1, headless=False, force_render=True):
    torch.manual_seed(seed)
    print("a good deal on the standard output")
    return TASKS[task](num_envs)
