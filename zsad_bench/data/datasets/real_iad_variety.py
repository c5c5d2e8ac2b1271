"""Real-IAD Variety: 160 kinds of small parts, each object photographed from five sides, with masks."""

from __future__ import annotations

from functools import cached_property

from zsad_bench.data.base import CategoryCard, Expected
from zsad_bench.data.views import MultiViewDataModule

_NAMES = (
    "2pin_block_plug 3_adapter 3pin_aviation_connector 4_wire_stepping_motor access_card accurate_detection_switch "
    "aircraft_model_head angled_toggle_switch audio_jack_socket bag_buckle ball_pin balun_transformer battery "
    "battery_holder_connector battery_socket_connector bend_connector blade_switch blue_light_switch bluetooth_module "
    "boost_converter_module bread_model brooch_clasp_accessory button_battery_holder button_motor button_switch "
    "car_door_lock_switch ceramic_fuse ceramic_wave_filter charging_port chip_inductor circuit_breaker "
    "circular_aviation_connector common_mode_choke common_mode_filter connector connector_housing_female "
    "console_switch crimp_st_cable_mount_box D_sub_connector dc_jack dc_power_connector detection_switch "
    "duckbill_circuit_breaker DVD_switch earphone_audio_unit effect_transistor electronic_watch_movement "
    "ethernet_connector ferrite_bead ffc_connector_plug flow_control_valve flower_copper_shape flower_velvet_fabric "
    "fork_crimp_terminal fuse_cover fuse_holder gear gear_motor green_ring_filter hairdryer_switch hall_effect_sensor "
    "headphone_jack_female headphone_jack_socket hex_plug humidity_sensor ingot_buckle insect_metal_parts "
    "inverter_connector jam_jar_model joystick_switch kfc_push_key_switch knob_cap laser_diode lattice_block_plug "
    "LED_indicator lego_pin_connector_plate lego_propeller lego_reel lego_technical_gear lego_turbine "
    "lighting_connector lilypad_led limit_switch lithium_battery_plug littel_fuse little_cow_model lock long_zipper "
    "meteor_hammer_arrowhead miniature_laser_module miniature_lifting_motor miniature_motor miniature_stepper_motor "
    "mobile_charging_connector model_steering_module monitor_socket motor_bracket motor_gear_reducer motor_plug "
    "mouse_socket multi_function_switch nylon_ball_head optical_fiber_outlet pencil_sharpener pinboard_connector "
    "pitch_connector PLCC_socket pneumatic_elbow pot_core potentiometer power_bank_module power_inductor power_jack "
    "power_strip_socket pulse_transformer purple_clay_pot push_button_switch push_in_terminal recorder_switch "
    "rectangular_connector_accessories red_terminal retaining_ring rheostat rotary_position_sensor round_twist_switch "
    "self_lock_switch shelf_support_module side_press_switch side_release_buckle silicon_cell_sensor sim_card_reader "
    "single_pole_potentiometer single_switch slide_switch slipper_model small_leaf smd_receiver_module "
    "solderless_adapter spherical_airstone spring_antenna square_terminal steering_T_head steering_wheel suction_cup "
    "telephone_spring_switch tension_snap_release_clip thumbtack thyristor toy_tire traceless_hair_clip travel_switch "
    "travel_switch_green tubular_key_switch vacuum_switch vehicle_harness_conductor vertical_adjustable_resistor "
    "vibration_motor volume_potentiometer VR_joystick wireless_receiver_module"
).split()
# Chosen here where the folder's name is no noun that says what is shown.
_PROMPTS = {
    "flower_copper_shape": "copper flower", "flower_velvet_fabric": "velvet flower",
    "insect_metal_parts": "metal insect", "littel_fuse": "Littelfuse fuse",
    "vehicle_harness_conductor": "vehicle wiring harness",
}  # fmt: skip
_TEST_IMAGES = 178_995  # five views of 35,799 objects, by a public check of all 160 JSON files


class RealIadVariety(MultiViewDataModule):
    """Every view of the official test split. Not verified: no copy was at hand.

    The names of categories, folders, JSON keys and the number of test images are from public loaders and a public check
    of its JSON files; copies write `-` for `_` here and there, and either is read. How many of the images are anomalous
    is not published, so only their number is compared. All views of a defective object carry its class there, and those
    without a mask are normal here, as in the loader of Real-IAD's authors; an evaluation that calls every view of such
    an object anomalous has other numbers.
    """

    title = "Real-IAD Variety"
    domain = "industrial"
    level = "both"
    licence = "not stated on its page, which asks for registration"
    redistribute = False
    url = "https://huggingface.co/datasets/Real-IAD/Real-IAD_Variety"
    citation = "Zhu et al., Real-IAD Variety: pushing industrial anomaly detection dataset to a modern era (2025)"
    category_cards = tuple(CategoryCard(n, _PROMPTS.get(n, n.replace("_", " ")), "object") for n in _NAMES)
    variants = {"multi_view": Expected(0, 0, "R")}
    json_folders = {"multi_view": ("realiadvariety_jsons", "Real-IAD_Variety_jsons", "realiad_variety_jsons")}
    image_folders = ("realiadvariety_1024", "realiadvariety_raw")
    root_names = ("Real-IAD_Variety", "RealIAD_Variety")
    how_to_get = (
        "register at its page, unpack realiadvariety_jsons.zip, and each category's archive into realiadvariety_raw/ "
        "beside it"
    )
    raw_looks_like = "Real-IAD_Variety_jsons/{category}.json beside realiadvariety_raw/{category}/"

    @cached_property
    def shortfall(self) -> str:
        n_images = len(self._read_table)
        return f"{n_images} of {_TEST_IMAGES}" if self.split == "test" and n_images < _TEST_IMAGES else ""
