// From the order of memory, plane by plane, to the order of computing, pixel by pixel. Packet ARRANGE.
//
// One tile is filled while the one before it is emptied. A plane that is read twice in each direction gives every other
// pixel from the one before.
module arrange #(
    parameter int LANES        = 16,
    parameter int MAX_PLANES   = 144,
    parameter int TILE_VECTORS = 512
) (
    input  logic               clk,
    input  logic               reset,
    input  logic               packet_valid,
    output logic               packet_ready,
    input  logic [63:0]        packet,
    input  logic               in_valid,
    output logic               in_ready,
    input  logic [8*LANES-1:0] in_data,
    output logic               to_spatial_valid,
    input  logic               to_spatial_ready,
    output logic               to_pointwise_valid,
    input  logic               to_pointwise_ready,
    output logic [8*LANES-1:0] out_data
);
    localparam int BITS = $clog2(TILE_VECTORS);
    localparam int FLAG_WORDS = (MAX_PLANES + 63) / 64;
    localparam int FLAG_BITS = $clog2(64 * FLAG_WORDS);

    enum logic [1:0] {HEAD, SIZE, FLAGS, FILL} state;

    logic to_spatial;
    logic [15:0] planes, tile, plane, pixel, pixels;
    logic [31:0] rows, width, left;
    logic [64*FLAG_WORDS-1:0] twice;
    logic [8*LANES-1:0] earlier, vector;
    logic [BITS-1:0] fill_at;
    logic fill_side, empty_side, again, fill, last_pixel, last_plane, tile_ends, unused_head;
    logic [1:0] full, spatial_of;
    logic [BITS:0] count_of[2];

    assign unused_head = &packet[15:2];
    assign packet_ready = state == HEAD || state == SIZE || state == FLAGS;
    assign pixels = left > 32'(tile) ? tile : left[15:0];
    assign last_pixel = pixel + 16'd1 == pixels;
    assign last_plane = plane + 16'd1 == planes;
    assign again = twice[FLAG_BITS'(plane)] && pixel[0];
    assign vector = again ? earlier : in_data;
    assign fill = state == FILL && !full[fill_side] && (again || in_valid);
    assign in_ready = state == FILL && !full[fill_side] && !again;
    assign tile_ends = fill && last_pixel && last_plane;

    always_ff @(posedge clk) begin
        case (state)
            HEAD: if (packet_valid) begin
                to_spatial <= packet[1];
                planes     <= packet[31:16];
                tile       <= packet[47:32];
                state      <= SIZE;
            end
            SIZE: if (packet_valid) begin
                rows  <= packet[31:0];
                width <= packet[63:32];
                left  <= packet[63:32];
                plane <= '0;
                pixel <= '0;
                state <= FLAGS;
            end
            FLAGS: if (packet_valid) begin
                twice[FLAG_BITS'(plane) +: 64] <= packet;
                fill_at <= '0;
                plane   <= plane + 16'd64;
                if (32'(plane) + 32'd64 >= 32'(planes)) begin
                    plane <= '0;
                    state <= FILL;
                end
            end
            default: if (fill) begin
                if (!again) earlier <= in_data;
                pixel   <= last_pixel ? 16'd0 : pixel + 16'd1;
                fill_at <= last_pixel ? BITS'(plane + 16'd1) : fill_at + BITS'(planes);
                if (last_pixel) plane <= last_plane ? 16'd0 : plane + 16'd1;
                if (tile_ends) begin
                    fill_at <= '0;
                    left    <= left - 32'(pixels);
                    if (left == 32'(pixels)) begin
                        left <= width;
                        rows <= rows - 32'd1;
                        if (rows == 32'd1) state <= HEAD;
                    end
                end
            end
        endcase
        if (reset) state <= HEAD;
    end

    logic [BITS:0] empty_at;
    logic may_reserve, empty, emptied, read, read_spatial, out_valid, out_ready, out_spatial;
    logic [8*LANES-1:0] read_data;

    assign empty = full[empty_side] && may_reserve;
    assign emptied = empty && empty_at + 1'b1 == count_of[empty_side];

    ram #(.WIDTH(8 * LANES), .DEPTH(2 << BITS)) tiles (
        .clk,
        .write(fill), .write_at({fill_side, fill_at}), .write_data(vector),
        .read(empty), .read_at({empty_side, empty_at[BITS-1:0]}), .read_data
    );
    outbox #(.WIDTH(8 * LANES + 1)) out (
        .clk, .reset, .may_reserve, .reserve(empty), .push(read), .push_data({read_spatial, read_data}),
        .out_valid, .out_ready, .out_data({out_spatial, out_data})
    );
    assign to_spatial_valid = out_valid && out_spatial;
    assign to_pointwise_valid = out_valid && !out_spatial;
    assign out_ready = out_spatial ? to_spatial_ready : to_pointwise_ready;

    always_ff @(posedge clk) begin
        read         <= empty;
        read_spatial <= spatial_of[empty_side];
        if (tile_ends) begin
            full[fill_side]       <= 1'b1;
            spatial_of[fill_side] <= to_spatial;
            count_of[fill_side]   <= {1'b0, fill_at} + 1'b1;
            fill_side             <= !fill_side;
        end
        if (empty) empty_at <= emptied ? '0 : empty_at + 1'b1;
        if (emptied) begin
            full[empty_side] <= 1'b0;
            empty_side       <= !empty_side;
        end
        if (reset) begin
            full       <= '0;
            fill_side  <= 1'b0;
            empty_side <= 1'b0;
            empty_at   <= '0;
            read       <= 1'b0;
        end
    end
endmodule
