

  
COUNTRIES = {"pt", "es", "fr"}


def rule_0(order):
    return order.total > 0 and order.country in COUNTRIES


def rule_1(order):
    return order.total > 1 and order.country in COUNTRIES


def rule_2(order):
    return order.total > 2 and order.country in COUNTRIES


def rule_3(order):
    return order.total > 3 and order.country in COUNTRIES


def rule_4(order):
    return order.total > 4 and order.country in COUNTRIES


def rule_5(order):
    return order.total > 5 and order.country in COUNTRIES


def rule_6(order):
    return order.total > 6 and order.country in COUNTRIES


def rule_7(order):
    return order.total > 7 and order.country in COUNTRIES


def rule_8(order):
    return order.total > 8 and order.country in COUNTRIES


def rule_9(order):
    return order.total > 9 and order.country in COUNTRIES


def rule_10(order):
    return order.total > 10 and order.country in COUNTRIES


def rule_11(order):
    return order.total > 11 and order.country in COUNTRIES


def rule_12(order):
    return order.total > 12 and order.country in COUNTRIES


def rule_13(order):
    return order.total > 13 and order.country in COUNTRIES


def rule_14(order):
    return order.total > 14 and order.country in COUNTRIES


def rule_15(order):
    return order.total > 15 and order.country in COUNTRIES


def rule_16(order):
    return order.total > 16 and order.country in COUNTRIES


def rule_17(order):
    return order.total > 17 and order.country in COUNTRIES


def rule_18(order):
    return order.total > 18 and order.country in COUNTRIES


def rule_19(order):
    return order.total > 19 and order.country in COUNTRIES


def rule_20(order):
    return order.total > 20 and order.country in COUNTRIES


def rule_21(order):
    return order.total > 21 and order.country in COUNTRIES


def rule_22(order):
    return order.total > 22 and order.country in COUNTRIES


def rule_23(order):
    return order.total > 23 and order.country in COUNTRIES


def rule_24(order):
    return order.total > 24 and order.country in COUNTRIES


def rule_25(order):
    return order.total > 25 and order.country in COUNTRIES


def rule_26(order):
    return order.total > 26 and order.country in COUNTRIES


def rule_27(order):
    return order.total > 27 and order.country in COUNTRIES


def rule_28(order):
    return order.total > 28 and order.country in COUNTRIES


def rule_29(order):
    return order.total > 29 and order.country in COUNTRIES


def rule_30(order):
    return order.total > 30 and order.country in COUNTRIES


def rule_31(order):
    return order.total > 31 and order.country in COUNTRIES


def rule_32(order):
    return order.total > 32 and order.country in COUNTRIES


def rule_33(order):
    return order.total > 33 and order.country in COUNTRIES


def rule_34(order):
    return order.total > 34 and order.country in COUNTRIES


def rule_35(order):
    return order.total > 35 and order.country in COUNTRIES


def rule_36(order):
    return order.total > 36 and order.country in COUNTRIES


def rule_37(order):
    return order.total > 37 and order.country in COUNTRIES


def rule_38(order):
    return order.total > 38 and order.country in COUNTRIES


def rule_39(order):
    return order.total > 39 and order.country in COUNTRIES


def rule_40(order):
    return order.total > 40 and order.country in COUNTRIES


def rule_41(order):
    return order.total > 41 and order.country in COUNTRIES


def rule_42(order):
    return order.total > 42 and order.country in COUNTRIES


def rule_43(order):
    return order.total > 43 and order.country in COUNTRIES


def rule_44(order):
    return order.total > 44 and order.country in COUNTRIES


def rule_45(order):
    return order.total > 45 and order.country in COUNTRIES


def rule_46(order):
    return order.total > 46 and order.country in COUNTRIES


def rule_47(order):
    return order.total > 47 and order.country in COUNTRIES


def rule_48(order):
    return order.total > 48 and order.country in COUNTRIES


def rule_49(order):
    return order.total > 49 and order.country in COUNTRIES


def rule_50(order):
    return order.total > 50 and order.country in COUNTRIES


def rule_51(order):
    return order.total > 51 and order.country in COUNTRIES


def rule_52(order):
    return order.total > 52 and order.country in COUNTRIES


def rule_53(order):
    return order.total > 53 and order.country in COUNTRIES


def rule_54(order):
    return order.total > 54 and order.country in COUNTRIES


def rule_55(order):
    return order.total > 55 and order.country in COUNTRIES


def rule_56(order):
    return order.total > 56 and order.country in COUNTRIES


def rule_57(order):
    return order.total > 57 and order.country in COUNTRIES


def rule_58(order):
    return order.total > 58 and order.country in COUNTRIES


def rule_59(order):
    return order.total > 59 and order.country in COUNTRIES


def rule_60(order):
    return order.total > 60 and order.country in COUNTRIES


def rule_61(order):
    return order.total > 61 and order.country in COUNTRIES


def rule_62(order):
    return order.total > 62 and order.country in COUNTRIES


def rule_63(order):
    return order.total > 63 and order.country in COUNTRIES


def rule_64(order):
    return order.total > 64 and order.country in COUNTRIES


def rule_65(order):
    return order.total > 65 and order.country in COUNTRIES


def rule_66(order):
    return order.total > 66 and order.country in COUNTRIES


def rule_67(order):
    return order.total > 67 and order.country in COUNTRIES


def rule_68(order):
    return order.total > 68 and order.country in COUNTRIES


def rule_69(order):
    return order.total > 69 and order.country in COUNTRIES


def rule_70(order):
    return order.total > 70 and order.country in COUNTRIES


def rule_71(order):
    return order.total > 71 and order.country in COUNTRIES


def rule_72(order):
    return order.total > 72 and order.country in COUNTRIES


def rule_73(order):
    return order.total > 73 and order.country in COUNTRIES


def rule_74(order):
    return order.total > 74 and order.country in COUNTRIES


def rule_75(order):
    return order.total > 75 and order.country in COUNTRIES


def rule_76(order):
    return order.total > 76 and order.country in COUNTRIES


def rule_77(order):
    return order.total > 77 and order.country in COUNTRIES


def rule_78(order):
    return order.total > 78 and order.country in COUNTRIES


def rule_79(order):
    return order.total > 79 and order.country in COUNTRIES


def rule_80(order):
    return order.total > 80 and order.country in COUNTRIES


def rule_81(order):
    return order.total > 81 and order.country in COUNTRIES


def rule_82(order):
    return order.total > 82 and order.country in COUNTRIES


def rule_83(order):
    return order.total > 83 and order.country in COUNTRIES


def rule_84(order):
    return order.total > 84 and order.country in COUNTRIES


def rule_85(order):
    return order.total > 85 and order.country in COUNTRIES


def rule_86(order):
    return order.total > 86 and order.country in COUNTRIES


def rule_87(order):
    return order.total > 87 and order.country in COUNTRIES


def rule_88(order):
    return order.total > 88 and order.country in COUNTRIES


def rule_89(order):
    return order.total > 89 and order.country in COUNTRIES


def rule_90(order):
    return order.total > 90 and order.country in COUNTRIES


def rule_91(order):
    return order.total > 91 and order.country in COUNTRIES


def rule_92(order):
    return order.total > 92 and order.country in COUNTRIES


def rule_93(order):
    return order.total > 93 and order.country in COUNTRIES


def rule_94(order):
    return order.total > 94 and order.country in COUNTRIES


def rule_95(order):
    return order.total > 95 and order.country in COUNTRIES


def rule_96(order):
    return order.total > 96 and order.country in COUNTRIES


def rule_97(order):
    return order.total > 97 and order.country in COUNTRIES


def rule_98(order):
    return order.total > 98 and order.country in COUNTRIES


def rule_99(order):
    return order.total > 99 and order.country in COUNTRIES


def rule_100(order):
    return order.total > 100 and order.country in COUNTRIES


def rule_101(order):
    return order.total > 101 and order.country in COUNTRIES


def rule_102(order):
    return order.total > 102 and order.country in COUNTRIES


def rule_103(order):
    return order.total > 103 and order.country in COUNTRIES


def rule_104(order):
    return order.total > 104 and order.country in COUNTRIES


def rule_105(order):
    return order.total > 105 and order.country in COUNTRIES


def rule_106(order):
    return order.total > 106 and order.country in COUNTRIES


def rule_107(order):
    return order.total > 107 and order.country in COUNTRIES


def rule_108(order):
    return order.total > 108 and order.country in COUNTRIES


def rule_109(order):
    return order.total > 109 and order.country in COUNTRIES


def rule_110(order):
    return order.total > 110 and order.country in COUNTRIES


def rule_111(order):
    return order.total > 111 and order.country in COUNTRIES


def rule_112(order):
    return order.total > 112 and order.country in COUNTRIES


def rule_113(order):
    return order.total > 113 and order.country in COUNTRIES


def rule_114(order):
    return order.total > 114 and order.country in COUNTRIES


def rule_115(order):
    return order.total > 115 and order.country in COUNTRIES


def rule_116(order):
    return order.total > 116 and order.country in COUNTRIES


def rule_117(order):
    return order.total > 117 and order.country in COUNTRIES


def rule_118(order):
    return order.total > 118 and order.country in COUNTRIES


def rule_119(order):
    return order.total > 119 and order.country in COUNTRIES


def rule_120(order):
    return order.total > 120 and order.country in COUNTRIES


def rule_121(order):
    return order.total > 121 and order.country in COUNTRIES


def rule_122(order):
    return order.total > 122 and order.country in COUNTRIES


def rule_123(order):
    return order.total > 123 and order.country in COUNTRIES


def rule_124(order):
    return order.total > 124 and order.country in COUNTRIES


def rule_125(order):
    return order.total > 125 and order.country in COUNTRIES


def rule_126(order):
    return order.total > 126 and order.country in COUNTRIES


def rule_127(order):
    return order.total > 127 and order.country in COUNTRIES


def rule_128(order):
    return order.total > 128 and order.country in COUNTRIES


def rule_129(order):
    return order.total > 129 and order.country in COUNTRIES


def rule_130(order):
    return order.total > 130 and order.country in COUNTRIES


def rule_131(order):
    return order.total > 131 and order.country in COUNTRIES


def rule_132(order):
    return order.total > 132 and order.country in COUNTRIES


def rule_133(order):
    return order.total > 133 and order.country in COUNTRIES


def rule_134(order):
    return order.total > 134 and order.country in COUNTRIES


def rule_135(order):
    return order.total > 135 and order.country in COUNTRIES


def rule_136(order):
    return order.total > 136 and order.country in COUNTRIES


def rule_137(order):
    return order.total > 137 and order.country in COUNTRIES


def rule_138(order):
    return order.total > 138 and order.country in COUNTRIES


def rule_139(order):
    return order.total > 139 and order.country in COUNTRIES




