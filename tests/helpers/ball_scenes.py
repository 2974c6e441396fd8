"""One scene of colored balls, written in every form in which collections have known cameras."""

import json
import math

import numpy as np
from PIL import Image

from nerfgen_ns.cameras.projection import Cameras, project

FRONT, UP, SIDE = np.array([0.0, 0, 0.4]), np.array([0.0, 0.4, 0]), np.array([0.4, 0, 0])
BALLS = np.stack([FRONT, UP, SIDE])
"""In the class frame: red in front, green above, blue on the left-hand side of the object."""
COLORS = np.eye(3) * 255
SIZE, FOCAL = 64, 80.0
OPENCV = np.diag([1.0, -1, -1, 1])
CLASS_OF = {
    "srn": ((0, 0, 1), (0, 1, 0)),
    "blender": ((0, 0, 1), (0, -1, 0)),
    "nerfstudio": ((0, 1, 0), (0, 0, 1)),
}


def look_at_origin(yaw, pitch, distance=2.0):
    """Class frame, OpenGL camera-to-world."""
    back = np.array([math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)])
    right = np.cross([0.0, 1, 0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.column_stack([right, np.cross(back, right), back, distance * back])
    return pose


POSES = [look_at_origin(yaw, pitch) for yaw, pitch in [(0.3, 0.2), (1.2, 0.5), (-0.7, 0.1), (2.9, 0.7)]]


def pixels_of(pose, points, intrinsics=(FOCAL, FOCAL, SIZE / 2, SIZE / 2)):
    numbers = np.array([intrinsics])
    return project(Cameras.from_camera_to_world(pose[None], numbers[:, :2], numbers[:, 2:]), points)[0]


def picture_of(pose, alpha):
    """The balls as discs, far ones first, over white or over nothing."""
    picture = np.full((SIZE, SIZE, 4), 255, np.uint8)
    picture[..., 3] = 0
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    for ball in np.argsort((BALLS - pose[:3, 3]) @ pose[:3, 2]):
        u, v = pixels_of(pose, BALLS[ball : ball + 1])[0]
        picture[np.hypot(columns - u, rows - v) < 3] = [*COLORS[ball], 255]
    return Image.fromarray(picture if alpha else picture[..., :3])


def in_world(pose, form, scale=1.0):
    """The class frame's pose in the world of a form, by the definition of its axes."""
    up, forward = map(np.array, CLASS_OF[form])
    to_world = np.column_stack([np.cross(up, forward), up, forward]).astype(float)
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = to_world @ pose[:3, :3], scale * to_world @ pose[:3, 3]
    return world


def write_srn(folder, poses=POSES, scale=1.0, halve=False):
    for name in ("rgb", "pose"):
        (folder / name).mkdir(parents=True)
    for number, pose in enumerate(poses):
        picture_of(pose, alpha=False).save(folder / f"rgb/{number:06d}.png")
        numbers = (in_world(pose, "srn", scale) @ OPENCV).ravel()
        (folder / f"pose/{number:06d}.txt").write_text(" ".join(map(repr, numbers.tolist())) + "\n")
    times = 2 if halve else 1
    (folder / "intrinsics.txt").write_text(
        f"{times * FOCAL} {times * SIZE / 2} {times * SIZE / 2} 0.\n"
        f"0. 0. 0.\n1.\n{times * SIZE} {times * SIZE}\n"
    )


def write_blender(folder, poses=POSES, scale=1.0, alpha=True):
    (folder / "train").mkdir(parents=True)
    frames = []
    for number, pose in enumerate(poses):
        picture_of(pose, alpha).save(folder / f"train/r_{number}.png")
        matrix = in_world(pose, "blender", scale).tolist()
        frames.append({"file_path": f"./train/r_{number}", "rotation": 0.1, "transform_matrix": matrix})
    value = {"camera_angle_x": 2 * math.atan(SIZE / 2 / FOCAL), "frames": frames}
    (folder / "transforms_train.json").write_text(json.dumps(value))


def write_nerfstudio(folder, poses=POSES, **frame_keys):
    (folder / "images").mkdir(parents=True)
    frames = []
    for number, pose in enumerate(poses):
        picture_of(pose, alpha=False).save(folder / f"images/{number}.png")
        own = {key: value[number] for key, value in frame_keys.items()}
        frames.append({"file_path": f"images/{number}.png", "transform_matrix": pose.tolist(), **own})
    value = {"fl_x": FOCAL, "cx": SIZE / 2, "cy": SIZE / 2, "w": SIZE, "h": SIZE, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(value))


WRITERS = {"srn": write_srn, "blender": write_blender, "nerfstudio": write_nerfstudio}
